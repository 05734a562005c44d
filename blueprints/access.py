"""Access to the page and its facts.

Every client may see everything. Rights per repository belong here and nowhere else: every view of the page and of its facts takes its
engine from `visible` or `changeable`.

A form is accepted only from a page of this service. It repeats a random token from a cookie, which browsers send only with requests of the
same site. A page of another site can make a browser send a form, but without the cookie, and it cannot read the token. Browsers also send
an Origin with a form, which HostGuard compares with this service's own (app/middleware.py).
"""

from __future__ import annotations

import secrets
from typing import cast

from flask import Response, current_app, request

from stowage.blueprints.request import engine
from stowage.blueprints.streaming import TRANSFERS
from stowage.services.engine import Engine
from stowage.services.errors import Forbidden
from stowage.services.system.transfers import Transfers
from stowage.services.transfer_board import Transfer

PAGE_MODE = "stowage.page"
"""Key of the application's extensions: what the page may do: off, read or write."""

_COOKIE = "stowage_form"
_BYTES = 24
_LENGTH = len(secrets.token_urlsafe(_BYTES))


def visible() -> Engine:
    """The engine with what the sender of this request may see."""
    return engine()


def visible_transfers() -> list[Transfer]:
    """The running transfers that the sender of this request may see."""
    return _transfers().find()


def end_transfer(identifier: str) -> None:
    """End one of them; the caller has checked that the sender may change anything. Raises NotFound."""
    _transfers().end(identifier)


def changeable(token: str) -> Engine:
    """The engine with what the sender of this form, which has this token, may change.

    Raises Forbidden unless STOWAGE_UI is `write` and the form comes from a page of this service.
    """
    require_write()
    _require_token(token)
    return engine()


def require_write() -> None:
    """Raise Forbidden unless the page may change the store."""
    if not can_write():
        raise Forbidden("this page only reads: set STOWAGE_UI to write to tag, delete and prune here")


def read_token() -> str:
    """The token of this browser, a new one if it has none."""
    token = request.cookies.get(_COOKIE, "")
    return token if len(token) == _LENGTH and token.isascii() else secrets.token_urlsafe(_BYTES)


def set_token(response: Response, token: str) -> None:
    """Give the browser this token, until it is closed."""
    response.set_cookie(_COOKIE, token, path="/ui/", httponly=True, samesite="Strict", secure=request.is_secure)


def _require_token(given: str) -> None:
    """Raise Forbidden unless a form that was sent with this token comes from a page of this service."""
    cookie = request.cookies.get(_COOKIE, "")
    matches = secrets.compare_digest(cookie.encode(), given.encode())
    if not (cookie and matches and "Origin" in request.headers):
        raise Forbidden("this form does not come from a page of this service, or the page is too old: load it again")


def can_write() -> bool:
    """Whether the page may change the store."""
    return bool(current_app.extensions[PAGE_MODE] == "write")


def has_page() -> bool:
    """Whether there is a page."""
    return bool(current_app.extensions[PAGE_MODE] != "off")


def _transfers() -> Transfers:
    return cast("Transfers", current_app.extensions[TRANSFERS])
