"""Pages of files, and the links within them: to other directories, views, orders and layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from flask import redirect, request
from flask.typing import ResponseReturnValue

from stowage.blueprints.rendering.answer import render
from stowage.services.images.file_names import show_path
from stowage.services.images.files import View

FILES_PER_PAGE = 100
_KEYS = ("left", "right", "left-platform", "right-platform", "platform", "layer", "view", "path", "search", "sort")
_FIRST, _LAST = 2, 6
"""How many names of a long path are shown."""


def crumbs_of(path: str) -> list[tuple[str, str]]:
    """The names on the way to a path, each with the path to it, as text. Of a long way the middle is left out, as an empty name."""
    parts = path.split("/") if path else []
    if len(parts) <= _FIRST + _LAST:
        return [_crumb(parts, number) for number in range(len(parts))]
    first, last = range(_FIRST), range(len(parts) - _LAST, len(parts))
    return [*(_crumb(parts, number) for number in first), ("", ""), *(_crumb(parts, number) for number in last)]


def _crumb(parts: list[str], number: int) -> tuple[str, str]:
    return show_path(parts[number])[1:], show_path("/".join(parts[: number + 1]))


class FileLinks:
    """Queries of links within a page of files: as they are, but for some parameters. A changed one begins at the first page again."""

    def __init__(self, given: Mapping[str, Any], *, order: str) -> None:
        shown = {key: str(given[key.replace("-", "_")]) for key in _KEYS if given.get(key.replace("-", "_"))}
        self._given = {key: value for key, value in shown.items() if (key, value) not in (("view", View.TREE), ("sort", order))}

    def to(self, **changed: object) -> str:
        """The query with these parameters; an empty one is left out."""
        parameters = self._given | {key: str(value) for key, value in changed.items()}
        return "?" + urlencode({key: value for key, value in parameters.items() if value})

    def but(self, *names: str) -> str:
        """The query without these parameters, to which others are appended."""
        parameters = {key: value for key, value in self._given.items() if key not in names}
        return urlencode(parameters) + "&" if parameters else ""

    def hidden(self, *names: str) -> list[tuple[str, str]]:
        """The parameters that a form keeps, without these."""
        return [(key, value) for key, value in self._given.items() if key not in names]


def render_files(template: str, *, total: int, given: Mapping[str, Any], order: str, **values: Any) -> ResponseReturnValue:
    """A page of so many files in all; beyond the end it leads to the last page."""
    link, number, pages = FileLinks(given, order=order), given["page"], max(1, -(-total // FILES_PER_PAGE))
    if number > pages:
        return redirect(request.path + link.to(page=pages))
    return render(template, given=given, link=link, number=number, pages=pages, **values)
