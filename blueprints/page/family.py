"""GET /ui/family: which images are built on which."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.family_tree import ancestors_of, branch_of, largest_of
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Count
from stowage.services.images.family import Member, find_member, read_family

blueprint = Blueprint("page_family", __name__)

_PER_PAGE = 40


class FamilyQuery(QuerySchema):
    """`of` is an image whose family is shown, `reference` a pattern as in the filter of lists."""

    of = fields.String(load_default="")
    reference = fields.String(load_default="")
    page = Count(load_default=1, most=1_000_000)


@blueprint.get("/ui/family", query=FamilyQuery, answer=PAGE, pace="listing")
def page_family() -> Response:
    """GET /ui/family."""
    query = load_query()
    engine, pattern, name = visible(), query["reference"].strip(), query["of"].strip()
    family = read_family(engine, patterns=(pattern,) if pattern else (), name=name, most=engine.limits.family_images)
    member = find_member(engine, family, name) if name else None
    members = member.children if member else family.roots
    part, numbers = _cut(members, query["page"])
    branches = [branch_of(member, children=part)] if member else [branch_of(each) for each in part]
    above = ancestors_of(member) if member else []
    facts: dict[str, Any] = {"branches": branches, "above": above, "largest": largest_of(branches), "left_out": family.left_out}
    return render("family.html", given=query, link=_link(query), **facts, **numbers)


def _cut(members: list[Member], page: int) -> tuple[list[Member], dict[str, Any]]:
    """The members of a page, and its number and that of the last."""
    pages = max(1, -(-len(members) // _PER_PAGE))
    number = min(page, pages)
    return members[(number - 1) * _PER_PAGE : number * _PER_PAGE], {"number": number, "pages": pages}


def _link(query: dict[str, Any]) -> str:
    given = {name: query[name] for name in ("of", "reference") if query[name]}
    return urlencode(given) + "&" if given else ""
