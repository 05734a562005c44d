"""The body of an error is read as far as it goes."""

from __future__ import annotations

import pytest

from stowage.services.registry.error_document import ErrorDocument, StatedError


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
