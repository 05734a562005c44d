"""Images and the images that they are built on. The page shows a limited number of them, with links to the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.text import query_text
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump_long_list
from stowage.blueprints.routing import Answer, current_route
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Count
from stowage.services.images.family import Family, Member, find_member, read_family
from stowage.services.metadata.usage import Relative

blueprint = Blueprint("page_family", __name__)

_PER_PAGE = 40
_CHILDREN, _DEPTH = 12, 8
"""How many children of a member are shown, and how many levels."""


class FamilyPageQuery(QuerySchema):
    """`of` is an image whose family is shown, `reference` a pattern as in the filter of lists."""

    of = fields.String(load_default="")
    reference = fields.String(load_default="")
    page = Count(load_default=1, most=1_000_000)


class FamilyQuery(QuerySchema):
    """Each `reference` is a pattern as in the filter of lists: then only what matches, what that is built on, and what is built on it."""

    references = fields.List(fields.String(), data_key="reference", load_default=())


class _Relation(NamedTuple):
    """An image, its member of the family, and the IDs of what it is built on and of the first image with the same layers, or nothing."""

    image: Relative
    member: Member
    parent: str
    same: str


class FamilyItem(ResponseSchema):
    """An image. `Parent` is the ID of the image that it is built on, empty if there is none; `Same` that of the first image with the same
    layers, empty if it is this one. `Added` is the bytes of the layers that the parent does not have.
    """

    id = fields.String(data_key="Id", attribute="image.digest")
    name = fields.String(data_key="Name", attribute="image.name")
    parent = fields.String(data_key="Parent")
    same = fields.String(data_key="Same")
    layers = fields.Integer(data_key="Layers", attribute="member.layers")
    size = fields.Integer(data_key="Size", attribute="image.size")
    added_layers = fields.Integer(data_key="AddedLayers", attribute="member.added_layers")
    added = fields.Integer(data_key="Added", attribute="member.added")


class _Branch(NamedTuple):
    """A member, those of its children that are shown, and how many are not."""

    member: Member
    children: list[_Branch]
    hidden: int


@blueprint.get("/ui/family", query=FamilyPageQuery, answer=PAGE, pace="listing")
@blueprint.get("/stowage/family", query=FamilyQuery, answer=Answer(FamilyItem, many=True), pace="listing")
def page_family() -> Response:
    """GET /ui/family and /stowage/family: which images are built on which."""
    query, most = load_query(), visible().limits.family_images
    if current_route().is_page:
        pattern, name = query["reference"].strip(), query["of"].strip()
        return _show(query, read_family(visible(), patterns=(pattern,) if pattern else (), name=name, most=most))
    family = read_family(visible(), patterns=tuple(query["references"]), most=most)
    return dump_long_list(_relations(family), kept=False)


def _relations(family: Family) -> Iterator[_Relation]:
    for member in family.members:
        first = member.images[0].digest
        parent = member.parent.images[0].digest if member.parent else ""
        for image in member.images:
            yield _Relation(image, member, parent, "" if image.digest == first else first)


def _show(query: dict[str, Any], family: Family) -> Response:
    """The page of a family, or of one member's, which is in the middle of it."""
    name = query["of"].strip()
    member = find_member(visible(), family, name) if name else None
    members = member.children if member else family.roots
    pages = max(1, -(-len(members) // _PER_PAGE))
    number = min(query["page"], pages)
    part = members[(number - 1) * _PER_PAGE : number * _PER_PAGE]
    branches = [_branch_of(member, children=part)] if member else [_branch_of(each) for each in part]
    above = _ancestors_of(member) if member else []
    facts: dict[str, Any] = {"branches": branches, "above": above, "largest": _largest_of(branches), "left_out": family.left_out}
    link = query_text({key: query[key] for key in ("of", "reference") if query[key]})
    return render("family.html", given=query, link=link, number=number, pages=pages, **facts)


def _branch_of(member: Member, *, depth: int = _DEPTH, children: Sequence[Member] | None = None) -> _Branch:
    """What is shown of a member; `children` are those to show instead of its first ones."""
    shown = (member.children[:_CHILDREN] if depth else []) if children is None else children
    return _Branch(member, [_branch_of(child, depth=depth - 1) for child in shown], len(member.children) - len(shown))


def _ancestors_of(member: Member) -> list[Member]:
    """What a member is built on, the first one first."""
    found = []
    while member.parent is not None:
        member = member.parent
        found.append(member)
    return found[::-1]


def _largest_of(branches: Sequence[_Branch]) -> int:
    """The most bytes that layers of a shown member have."""
    return max((max(branch.member.size, _largest_of(branch.children)) for branch in branches), default=0)
