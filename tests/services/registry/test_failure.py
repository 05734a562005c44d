"""What a refusal says: the document in its body, and when to try again."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from urllib3 import HTTPResponse

from stowage.services.registry.failure import ErrorDocument, StatedError, retry_after


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        pytest.param(
            b'{"errors": [{"code": "DENIED", "message": "no", "detail": {"a": 1}}, {"CODE": "OTHER"}]}',
            ErrorDocument((StatedError("DENIED", "no", {"a": 1}), StatedError("OTHER", "", None))),
            id="errors",
        ),
        pytest.param(b'{"details": "go away"}', ErrorDocument(details="go away"), id="older form"),
        pytest.param(b'{"details": ["go away"]}', ErrorDocument(), id="details of another kind"),
        pytest.param(b"null", ErrorDocument(), id="null"),
        pytest.param(b"", ErrorDocument(unreadable="unexpected end of JSON input"), id="nothing"),
    ],
)
def test_a_document_is_read(body: bytes, expected: ErrorDocument) -> None:
    assert ErrorDocument.read(body) == expected


def test_the_older_form_is_kept_where_the_errors_beside_it_cannot_be_read() -> None:
    document = ErrorDocument.read(b'{"details": "go away", "errors": 7}')
    assert (document.details, document.errors, bool(document.unreadable)) == ("go away", (), True)


@pytest.mark.parametrize("body", [b"[]", b"<html>", b'{"errors": ["x"]}', b'{"errors": {"code": "DENIED"}}', b'{"errors": [{"code": 7}]}'])
def test_what_is_no_document_says_why(body: bytes) -> None:
    assert ErrorDocument.read(body).unreadable


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
