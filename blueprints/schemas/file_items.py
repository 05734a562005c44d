"""Files as they are shown in JSON: items of a list, and the parameters that choose them."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Choice, Count
from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, nullable, written_as
from stowage.services.archive.file_list import EntryKind
from stowage.services.images.file_names import show_name, show_path
from stowage.services.images.file_table import Change
from stowage.services.images.file_views import FileItem, Listing
from stowage.services.images.files import View

_MOST_OFFSET = 10_000_000


class ListingQuery(QuerySchema):
    """Which files: below `path`, with `search` in their paths; and their order and page.

    `view` is `tree` (what is in a directory), `flat` (all files below it) or, of a whole image, `wasted`. `sort` is one of name, size,
    growth, files and layer, with `-` for the largest first.
    """

    view = Choice(View, load_default=View.TREE)
    path = fields.String(load_default="")
    search = fields.String(load_default="")
    sort = fields.String(load_default="")
    offset = Count(load_default=0, least=0, most=_MOST_OFFSET)
    limit = Count(load_default=100, most=1000)


def listing_of(query: dict[str, Any]) -> Listing:
    """The parameters of a ListingQuery as a value; raises InvalidParameter for an unknown order."""
    is_flat = query["view"] is View.FLAT
    return Listing(query["path"], is_flat, query["search"], query["sort"], query["offset"], query["limit"])


class FileSum(ResponseSchema):
    """How many files, and their bytes."""

    files = fields.Integer(data_key="Files")
    bytes = fields.Integer(data_key="Size")


def _mode(item: FileItem) -> str | None:
    return None if item.mode is None else f"{item.mode:04o}"


class FileEntry(ResponseSchema):
    """A file or a directory. `Size` and `Files` of a directory are those of all in it; what hard links share counts once.

    `Layer` is the number of the layer that it comes from, `Mode` octal, `Modified` in seconds since 1970; they are null if no layer says.
    """

    path = fields.Function(lambda item: show_path(item.path), data_key="Path", metadata=written_as(TEXT))
    kind = fields.String(data_key="Kind", metadata=written_as(TEXT | {"enum": [*EntryKind]}))
    bytes = fields.Integer(data_key="Size")
    before = fields.Integer(data_key="SizeBefore")
    files = fields.Integer(data_key="Files")
    change = fields.String(data_key="Change", allow_none=True, metadata=written_as({"enum": [*Change, None]}))
    layer = fields.Integer(data_key="Layer", allow_none=True)
    mode = fields.Function(_mode, data_key="Mode", metadata=written_as(nullable(TEXT)))
    uid = fields.Integer(data_key="Uid", allow_none=True)
    gid = fields.Integer(data_key="Gid", allow_none=True)
    modified = fields.Integer(data_key="Modified", allow_none=True, metadata=written_as(nullable(INTEGER)))
    link = fields.Function(lambda item: show_name(item.link), data_key="Link", metadata=written_as(TEXT))
