"""GET /ui/static/{file}: stylesheet, scripts and icon, which are read once; and where the page is if its last slash is missing."""

from __future__ import annotations

from functools import cache

from flask import Blueprint, Response, redirect, request
from flask.typing import ResponseReturnValue

from stowage.blueprints.rendering.answer import FOLDER, PAGE
from stowage.blueprints.routing import PAGE_PREFIX
from stowage.services.errors import NotFound

blueprint = Blueprint("page_assets", __name__)

_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


@cache
def _files() -> dict[str, tuple[bytes, str]]:
    """The content and the media type of each file, by name."""
    return {path.name: (path.read_bytes(), _TYPES[path.suffix]) for path in (FOLDER / "static").iterdir() if path.suffix in _TYPES}


@blueprint.get("/ui/static/<path:file>", answer=PAGE, pace="quick")
def page_assets(file: str) -> ResponseReturnValue:
    """GET /ui/static/{file}."""
    if file not in _files():
        raise NotFound("page not found")
    content, media_type = _files()[file]
    response = Response(content, content_type=media_type)
    response.add_etag()
    return response.make_conditional(request)


@blueprint.get("/ui", answer=PAGE, pace="quick")
def page_entrance() -> ResponseReturnValue:
    """GET /ui."""
    return redirect(PAGE_PREFIX)
