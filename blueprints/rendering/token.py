"""Forms come from pages of this service: each has a token that only they can read.

The token is random and in a cookie that browsers send only with requests of the same site. A form repeats it. A page of another site can
make a browser send a form, but neither gets the cookie sent along nor knows what it contains. Besides, every browser sends an Origin with a
form, which HostGuard has compared with this service's own (app/middleware.py).
"""

from __future__ import annotations

import secrets

from flask import Request, Response

from stowage.services.errors import Forbidden

_COOKIE = "stowage_form"
_BYTES = 24
_LENGTH = len(secrets.token_urlsafe(_BYTES))


def read_token(request: Request) -> str:
    """The token of this browser, a new one if it has none."""
    token = request.cookies.get(_COOKIE, "")
    return token if len(token) == _LENGTH and token.isascii() else secrets.token_urlsafe(_BYTES)


def set_token(request: Request, response: Response, token: str) -> None:
    """Give the browser this token, until it is closed."""
    response.set_cookie(_COOKIE, token, path="/ui/", httponly=True, samesite="Strict", secure=request.is_secure)


def require_token(request: Request, given: str) -> None:
    """Raise Forbidden unless a form that was sent with this token comes from a page of this service."""
    cookie = request.cookies.get(_COOKIE, "")
    matches = secrets.compare_digest(cookie.encode(), given.encode())
    if not (cookie and matches and "Origin" in request.headers):
        raise Forbidden("this form does not come from a page of this service, or the page is too old: load it again")
