"""GET /ui/files/{name}: the files of an image, or what one layer of it did."""

from __future__ import annotations

from functools import partial
from http import HTTPStatus
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.client import compute
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.file_links import FILES_PER_PAGE, crumbs_of, render_files
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Choice, Count, PlatformSpecifier
from stowage.services.errors import Unsupported
from stowage.services.images.browse import find_image, name_of
from stowage.services.images.file_views import Listing
from stowage.services.images.files import ImageFiles, View, list_files

blueprint = Blueprint("page_files", __name__)

_ORDER = "-size"


class FilesQuery(QuerySchema):
    """Which files, as in the facts; `layer` counts from 1, as the page shows layers, or is empty."""

    platform = PlatformSpecifier(load_default=None)
    layer = Count(load_default=0, least=0, most=100_000)
    view = Choice(View, load_default=View.TREE)
    path = fields.String(load_default="")
    search = fields.String(load_default="")
    sort = fields.String(load_default=_ORDER)
    page = Count(load_default=1, most=1_000_000)


@blueprint.get("/ui/files/<path:name>", query=FilesQuery, answer=PAGE)
def page_files(name: str) -> ResponseReturnValue:
    """GET /ui/files/{name}."""
    query, entry = load_query(), find_image(visible(), name)
    head = {"entry": entry, "known_as": name_of(entry, name), "platform": query["platform"]}
    try:
        found = _look(name, query)
    except Unsupported as exc:
        return render("files_none.html", status=HTTPStatus.NOT_IMPLEMENTED, message=str(exc), **head)
    shown = {"found": found, "crumbs": crumbs_of(found.path)}
    return render_files("files.html", total=found.total, given=query, order=_ORDER, **head, **shown)


def _look(name: str, query: dict[str, Any]) -> ImageFiles:
    start, layer = (query["page"] - 1) * FILES_PER_PAGE, str(query["layer"] - 1) if query["layer"] else ""
    listing = Listing(query["path"], search=query["search"], sort=query["sort"], offset=start, limit=FILES_PER_PAGE)
    return compute(partial(list_files, visible(), name, platform=query["platform"], layer=layer, view=query["view"], listing=listing))
