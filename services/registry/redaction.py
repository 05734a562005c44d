"""Errors without secrets, since a server may echo what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, quote_plus

from stowage.services.errors import EngineError
from stowage.services.oci import gojson

_SHORTEST = 4
"""Characters. Anything shorter could occur in any sentence."""


@contextmanager
def hiding(secrets: Callable[[], list[str]]) -> Iterator[None]:
    """Redact these secrets, read after the error and in any escaped form, in any EngineError raised inside."""
    try:
        yield
    except EngineError as exc:
        words = str(exc)
        forms = {form for secret in secrets() if len(secret) >= _SHORTEST for form in _forms(secret)}
        for form in sorted(forms, key=len, reverse=True):
            words = words.replace(form, "[secret]")
        if words == str(exc):
            raise
        blackened = type(exc)(words)
        blackened.retry_after = exc.retry_after
        raise blackened from None


def without_query(url: str) -> str:
    """The URL without its query, which may carry a signature."""
    return url.partition("?")[0]


def public_url(url: str) -> str:
    """The URL without user info, query and fragment. Of a text that is not a URL, nothing before an `@` is left."""
    scheme, mark, rest = without_query(url).partition("#")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return scheme.rpartition("@")[2] + mark + authority.rpartition("@")[2] + slash + path


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it is, in a host name, in a URL, in a form, and in JSON."""
    return (
        secret,
        secret.lower(),
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        gojson.quote(secret)[1:-1],
    )
