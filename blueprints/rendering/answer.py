"""Answers of the page: HTML from a template, and the headers of everything under its path."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

from flask import Response, request
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from stowage.blueprints.access import can_write, read_token, set_token
from stowage.blueprints.rendering import text
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.json_schema import TEXT
from stowage.services.errors import BlobNotFound, EngineError, ImageNotFound, InvalidReference, NotFound, PlatformNotFound
from stowage.services.images.file_views import show_name, show_path
from stowage.services.oci.platform import Platform

HTML = "text/html; charset=utf-8"
PAGE = Answer(TEXT, {HTML: {}})
"""The answer of a route of the page."""
FOLDER = Path(__file__).parent.parent / "page"
"""Where the templates and the static files of the page are."""
PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # with `no-referrer`, browsers would send `Origin: null` with forms
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
"""Nothing but this service's own files is loaded or run, and no other page may contain this one."""

_FORMS = frozenset({"images", "free", "difference", "family", "tag"})
"""The pages with a form that people fill in, which are also the macros of these forms."""

_HEADINGS: dict[object, str] = {
    ImageNotFound: "There is no such image",
    BlobNotFound: "There is no such layer",
    NotFound: "It is not there",
    HTTPStatus.BAD_REQUEST: "This cannot be understood",
    HTTPStatus.FORBIDDEN: "This is not allowed",
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.CONFLICT: "This cannot be done now",
    HTTPStatus.NOT_IMPLEMENTED: "This cannot be shown",
    HTTPStatus.SERVICE_UNAVAILABLE: "This cannot be done now",
    HTTPStatus.INSUFFICIENT_STORAGE: "The disk is full",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something has failed",
}
"""What the pages of errors are headed with, by the class of the error or else the status."""

_TEMPLATES = Environment(
    loader=FileSystemLoader(FOLDER / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    auto_reload=False,
)
_TEMPLATES.filters |= {
    "text": text.shown,
    "name": text.named,
    "plain": text.plain,
    "size": text.size,
    "number": text.number,
    "percent": text.percent,
    "age": text.age,
    "duration": text.duration,
    "when": text.when,
    "short": text.short_digest,
    "instruction": text.instruction,
    "path": show_path,
    "file_name": lambda path: show_name(path.rpartition("/")[2]),
    "file_link": show_name,
    "mode": text.mode,
    "growth": text.growth,
    "listed": lambda texts: json.dumps(texts, ensure_ascii=False),
    "segment": lambda name: quote(str(name), safe="/:@"),
    "value": lambda name: quote(str(name), safe=""),
}


def render(template: str, *, status: HTTPStatus = HTTPStatus.OK, **values: object) -> Response:
    """HTML from a template, which gets these values besides `status`, `now`, `path`, `can_write` and, for forms, `token`."""
    token = read_token() if can_write() else ""
    common = {"status": status, "now": time.time(), "path": request.path, "can_write": can_write(), "token": token}
    response = Response(_TEMPLATES.get_template(template).render(common | values), status, content_type=HTML)
    if token:
        set_token(response, token)
    return response


def render_refusal(message: str) -> bytes:
    """What a browser shows if its request reaches no view: HTML that needs nothing else."""
    return _TEMPLATES.get_template("refusal.html").render(message=message).encode()


def _of_platform(error: EngineError | None) -> str:
    """The platform that the page was asked for, as a query; nothing if that is what the error is about."""
    with suppress(EngineError):
        if request.args.get("platform") and not isinstance(error, PlatformNotFound):
            return f"?platform={quote(str(Platform.parse(request.args['platform'])), safe='')}"
    return ""


def render_error(status: int, message: str, error: EngineError | None = None) -> Response:
    """What a browser shows instead of a page that failed; its form is there as it was sent."""
    known = HTTPStatus(status)
    heading = next((_HEADINGS[each] for each in (*type(error).__mro__, known) if each in _HEADINGS), known.phrase)
    about = (request.view_args or {}).get("name", "") if not isinstance(error, (ImageNotFound, InvalidReference)) else ""
    page = (request.endpoint or "").rpartition("page_")[2]
    form = page if page in _FORMS and (can_write() or page != "tag") else None
    given = defaultdict[str, str](str, {key.replace("-", "_"): value for key, value in request.args.items()})
    words = {"heading": heading, "message": message, "about": about, "of_platform": _of_platform(error)}
    return render("error.html", status=known, form=form, given=given, **words)
