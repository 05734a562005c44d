"""When a registry may be asked again."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from urllib3 import HTTPResponse

from stowage.services.registry.retry_after import retry_after


def after(status: int, header: str) -> float | None:
    return retry_after(HTTPResponse(status=status, headers={"Retry-After": header}))


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("", 0),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0),
        ("soon", 0),
        ("\xb2", 0),
    ],
)
def test_a_retry_after_that_says_nothing_asks_for_no_time(header: str, seconds: float) -> None:
    assert after(503, header) == seconds


def test_a_date_is_so_many_seconds_away() -> None:
    seconds = after(429, formatdate(time.time() + 100, usegmt=True))
    assert seconds is not None
    assert 90 < seconds <= 100


@pytest.mark.parametrize("status", [400, 401, 403, 404, 501])
def test_a_status_that_does_not_pass_is_not_asked_for_again(status: int) -> None:
    assert after(status, "7") is None
