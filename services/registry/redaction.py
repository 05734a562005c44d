"""Errors without secrets: a server may echo what it was sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.errors import EngineError
from services.registry.errors import reworded

_SHORTEST = 4
"""Characters; what is shorter is in every sentence."""


@contextmanager
def hiding(secrets: Callable[[], list[str]]) -> Iterator[None]:
    """Blacken these, as they are at the end, in whatever EngineError is raised inside."""
    try:
        yield
    except EngineError as exc:
        words = str(exc)
        for secret in sorted(secrets(), key=len, reverse=True):
            if len(secret) >= _SHORTEST:
                words = words.replace(secret, "[secret]")
        if words == str(exc):
            raise
        raise reworded(exc, words) from None
