"""The files of an image, or what one layer of it did."""

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
from stowage.blueprints.rendering.file_list import FileEntry, FileSum, ListingPageQuery, ListingQuery, listing_of, render_files
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer, current_route
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.schemas.fields import Count, PlatformSpecifier
from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, nullable, record, written_as
from stowage.services.errors import Unsupported
from stowage.services.images.browse import find_image, name_of
from stowage.services.images.file_table import Change
from stowage.services.images.file_views import show_path
from stowage.services.images.files import ImageFiles, ShownLayer, list_files

blueprint = Blueprint("page_files", __name__)


class FilesPageQuery(ListingPageQuery):
    """`layer` counts from 1, as the page shows layers, or is empty."""

    platform = PlatformSpecifier(load_default=None)
    layer = Count(load_default=0, least=0, most=100_000)
    sort = fields.String(load_default="-size")


class FilesQuery(ListingQuery):
    """`layer` is the number, from 0, or the digest of the layer whose changes are listed, instead of the whole image."""

    platform = PlatformSpecifier(load_default=None)
    layer = fields.String(load_default="")


def _did(change: Change) -> fields.Function:
    """What a layer did in this way."""

    def read(shown: ShownLayer) -> dict[str, int] | None:
        found = shown.did(change)
        return None if found is None else {"Files": found.files, "Size": found.bytes}

    return fields.Function(read, data_key=change.capitalize(), metadata=written_as(nullable(record({"Files": INTEGER, "Size": INTEGER}))))


class LayerItem(ResponseSchema):
    """A layer, and what it did to the files below it. `Wasted` is what it stores and no path of the image leads to.

    What it did is null if the image has too many files. `Problem` says what of its files is missing, if anything.
    """

    digest = fields.String(data_key="Digest", attribute="layer.descriptor.digest")
    diff_id = fields.Function(
        lambda shown: shown.layer.diff_id and str(shown.layer.diff_id), data_key="DiffId", metadata=written_as(nullable(TEXT))
    )
    size = fields.Integer(data_key="Size", attribute="layer.descriptor.size")
    unpacked = fields.Integer(data_key="UnpackedSize", attribute="layer.unpacked", allow_none=True, metadata=written_as(nullable(INTEGER)))
    created_by = fields.String(data_key="CreatedBy", attribute="layer.created_by")
    content = fields.Nested(FileSum, data_key="Content", allow_none=True)
    wasted = fields.Nested(FileSum, data_key="Wasted", allow_none=True)
    added = _did(Change.ADDED)
    changed = _did(Change.CHANGED)
    attributes = _did(Change.ATTRIBUTES)
    same = _did(Change.SAME)
    removed = _did(Change.REMOVED)
    problem = fields.String(data_key="Problem")


class ImageFilesItem(ResponseSchema):
    """A page of `Items`, of `Total`, and what is known of the whole image. In the view `wasted`, `Files` of an item counts its copies.

    `Layer` is null unless the items are about one layer. `Problem` says what of the image is missing, if anything.
    """

    id = fields.String(data_key="Id", attribute="image.descriptor.digest")
    platform = fields.String(data_key="Platform", attribute="image.platform")
    sum = fields.Nested(FileSum, data_key="Content")
    wasted = fields.Nested(FileSum, data_key="Wasted")
    layers = fields.List(fields.Nested(LayerItem), data_key="Layers")
    layer = fields.Integer(data_key="Layer", allow_none=True)
    path = fields.Function(lambda files: show_path(files.path), data_key="Path", metadata=written_as(TEXT))
    total = fields.Integer(data_key="Total")
    items = fields.List(fields.Nested(FileEntry), data_key="Items")
    problem = fields.String(data_key="Problem")


@blueprint.get("/ui/files/<path:name>", query=FilesPageQuery, answer=PAGE)
@blueprint.get("/stowage/images/<path:name>/files", query=FilesQuery, answer=Answer(ImageFilesItem))
def page_files(name: str) -> ResponseReturnValue:
    """GET /ui/files/{name} and /stowage/images/{name}/files: the files of an image, or what one layer of it did."""
    query = load_query()
    return _show(name, query) if current_route().is_page else dump(_look(name, query, query["layer"]))


def _look(name: str, query: dict[str, Any], layer: str) -> ImageFiles:
    chosen = {"platform": query["platform"], "layer": layer, "view": query["view"]}
    return compute(partial(list_files, visible(), name, listing=listing_of(query), **chosen))


def _show(name: str, query: dict[str, Any]) -> ResponseReturnValue:
    entry = find_image(visible(), name)
    head = {"entry": entry, "known_as": name_of(entry, name), "platform": query["platform"]}
    try:
        found = _look(name, query, str(query["layer"] - 1) if query["layer"] else "")
    except Unsupported as exc:
        return render("files.html", status=HTTPStatus.NOT_IMPLEMENTED, found=None, message=str(exc), **head)
    return render_files("files.html", path=found.path, total=found.total, given=query, found=found, **head)
