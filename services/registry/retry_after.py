"""Which refusals are temporary, and when to try again: RFC 9110 section 10.2.3."""

from __future__ import annotations

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime

from urllib3.response import BaseHTTPResponse

_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


def retry_after(response: BaseHTTPResponse) -> float | None:
    """Seconds after which another try may get another status, 0 if the answer does not say; None if it would not."""
    return _seconds(response.headers.get("Retry-After", "")) if response.status in _PASSING_STATUSES else None


def _seconds(header: str) -> float:
    """What a Retry-After header says, in seconds from now; 0 for anything invalid."""
    if header.isascii() and header.isdigit():
        return float(header[:9])
    with suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    return 0.0
