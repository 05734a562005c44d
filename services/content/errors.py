"""The boundary to the operating system, where its errors become the engine's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from stowage.services.errors import Internal, OutOfSpace

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def storage_errors() -> Iterator[None]:
    """Raise OutOfSpace for a full disk or quota and Internal for any other OSError of the body."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            raise OutOfSpace(f"the content store has no space left: {exc.strerror}") from exc
        raise Internal(f"the content store failed: {exc}") from exc
