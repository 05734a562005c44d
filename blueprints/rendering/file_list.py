"""Lists of files: which ones a request asks for, their items as JSON, and the links within the pages that show them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import redirect, request
from flask.typing import ResponseReturnValue
from marshmallow import fields, post_load

from stowage.blueprints.rendering.answer import render
from stowage.blueprints.rendering.text import query_text
from stowage.blueprints.routing import current_route
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import Choice, Count
from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, nullable, written_as
from stowage.services.archive.file_list import EntryKind
from stowage.services.images.file_table import Change
from stowage.services.images.file_views import FileItem, Listing, show_name, show_path
from stowage.services.images.files import View

_PER_PAGE = 100
_KEYS = ("left", "right", "left-platform", "right-platform", "platform", "layer", "view", "path", "search", "sort")
"""The parameters that links keep."""
_FIRST, _LAST = 2, 6
"""How many names of a long path are shown."""


class _FilesQuery(QuerySchema):
    """Which files: below `path`, with `search` in their paths."""

    view = Choice(View, load_default=View.TREE)
    path = fields.String(load_default="")
    search = fields.String(load_default="")


class ListingQuery(_FilesQuery):
    """Which files: below `path`, with `search` in their paths; and their order and page.

    `view` is `tree` (what is in a directory), `flat` (all files below it) or, of a whole image, `wasted`. `sort` is one of name, size,
    growth, files and layer, with `-` for the largest first.
    """

    sort = fields.String(load_default="")
    offset = Count(load_default=0, least=0, most=10_000_000)
    limit = Count(load_default=100, most=1000)


class ListingPageQuery(_FilesQuery):
    """The same for a page of HTML; a subclass has the `sort` by which its pages begin."""

    page = Count(load_default=1, most=1_000_000)

    @post_load
    def _place(self, query: dict[str, Any], **_: object) -> dict[str, Any]:
        return query | {"offset": (query["page"] - 1) * _PER_PAGE, "limit": _PER_PAGE}


def listing_of(query: dict[str, Any]) -> Listing:
    """The parameters of either as a value; raises InvalidParameter for an unknown order."""
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


class FileLinks:
    """Queries of links within a page of files: as they are, but for some parameters. A changed one begins at the first page again."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        values, defaults = {key: given.get(key.replace("-", "_")) for key in _KEYS}, current_route().query.defaults()
        self._given = {key: str(value) for key, value in values.items() if value and value != defaults[key.replace("-", "_")]}

    def to(self, **changed: object) -> str:
        """The query with these parameters; an empty one is left out."""
        parameters = self._given | {key: str(value) for key, value in changed.items()}
        return "?" + urlencode({key: value for key, value in parameters.items() if value})

    def but(self, *names: str) -> str:
        """The query without these parameters, to which others are appended."""
        return query_text(dict(self.hidden(*names)))

    def hidden(self, *names: str) -> list[tuple[str, str]]:
        """The parameters that a form keeps, without these."""
        return [(key, value) for key, value in self._given.items() if key not in names]


def render_files(template: str, *, path: str, total: int, given: Mapping[str, Any], **values: Any) -> ResponseReturnValue:
    """A page of the files below a path, so many in all; beyond the end it leads to the last page."""
    link, number, pages = FileLinks(given), given["page"], max(1, -(-total // _PER_PAGE))
    if number > pages:
        return redirect(request.path + link.to(page=pages))
    return render(template, given=given, link=link, crumbs=_crumbs(path), number=number, pages=pages, **values)


def _crumbs(path: str) -> list[tuple[str, str]]:
    """The names on the way to a path, each with the path to it, as text. Of a long way the middle is left out, as an empty name."""
    parts = path.split("/") if path else []
    shown = list(range(len(parts)))
    if len(shown) > _FIRST + _LAST:
        shown[_FIRST:-_LAST] = [-1]
    return [(show_path(parts[number])[1:], show_path("/".join(parts[: number + 1]))) if number >= 0 else ("", "") for number in shown]
