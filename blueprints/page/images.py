"""GET /ui/images: the images of the store, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Bytes, Count, DockerBool
from stowage.services.filters import Filters, is_glob
from stowage.services.images.browse import browse_images
from stowage.services.metadata.records import Order, SortKey
from stowage.services.system.disk import unique_bytes

blueprint = Blueprint("page_images", __name__)

_PER_PAGE = 50
_FILTERS = ("reference", "label", "label!", "before", "since", "until")


class _Sort(fields.Field[Order]):
    """`KEY`, or `-KEY` for the last first."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Order:
        key = value.removeprefix("-")
        return Order(SortKey(key), value.startswith("-")) if key in list(SortKey) else Order()


class ImagesQuery(QuerySchema):
    """The filters of `docker image ls`, and `part`, a part of a name; those that are empty do not count. `done` is what has just been done,
    and `freed` its bytes.
    """

    reference = fields.String(load_default="")
    part = fields.String(load_default="")
    label = fields.String(load_default="")
    label_not = fields.String(data_key="label!", attribute="label!", load_default="")
    before = fields.String(load_default="")
    since = fields.String(load_default="")
    until = fields.String(load_default="")
    dangling = DockerBool(load_default=False)
    sort = _Sort(load_default=Order())
    page = Count(load_default=1, most=1_000_000)
    done = fields.String(load_default="")
    freed = Bytes(load_default=None)


@blueprint.get("/ui/images", query=ImagesQuery, answer=PAGE, pace="listing")
def page_images() -> Response:
    """GET /ui/images."""
    query = load_query()
    start, part = (query["page"] - 1) * _PER_PAGE, query["part"].strip()
    found = browse_images(visible(), filters=_filters(query), part=part, order=query["sort"], start=start, count=_PER_PAGE)
    order = query["sort"]
    sort = "-" * order.descending + order.key
    shown = {name: query[name] for name in ("part", *_FILTERS) if query[name]} | ({"dangling": "true"} if query["dangling"] else {})
    links = {"filters": _query(shown), "all": _query(shown | {"sort": sort})}
    pages: dict[str, Any] = {"number": found.start // _PER_PAGE + 1, "pages": -(-found.total // _PER_PAGE)}
    return render("images.html", found=found, given=query, sort=sort, links=links, part=_part(query), unique=unique_bytes, **pages)


def _part(query: Mapping[str, Any]) -> str:
    """What to look for in all names instead of a name that is whole."""
    reference: str = query["reference"].strip()
    return "" if is_glob(reference) else reference


def _filters(query: Mapping[str, Any]) -> Filters:
    filters = Filters().adding("dangling", "true") if query["dangling"] else Filters()
    for name in _FILTERS:
        if query[name].strip():
            filters = filters.adding(name, query[name].strip())
    return filters


def _query(parameters: Mapping[str, str]) -> str:
    """Parameters before which others can follow."""
    return urlencode(parameters) + "&" if parameters else ""
