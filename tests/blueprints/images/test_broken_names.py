"""Image names with bytes that are no UTF-8: refused on every route, in the words of Go, which takes such a byte for an
upper-case letter.
"""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

NO_NAME = "invalid reference format: repository name (library/a\ufffd) must be lowercase"


@pytest.mark.parametrize(
    ("method", "target", "status", "words"),
    [
        ("GET", "/images/a%FF/json", 400, NO_NAME),
        ("GET", "/images/a%FF/history", 400, NO_NAME),
        ("GET", "/images/a%FF/get", 400, NO_NAME),
        ("GET", "/images/a%FF/attestations", 400, NO_NAME),
        ("GET", "/images/get?names=a%FF", 400, NO_NAME),
        ("GET", "/distribution/a%FF/json", 400, NO_NAME),
        ("DELETE", "/images/a%FF", 400, NO_NAME),
        ("POST", "/images/a%FF/push", 400, NO_NAME),
        ("POST", "/images/a%FF/tag?repo=x", 404, NO_NAME),
        ("POST", "/images/x/tag?repo=a%FF", 400, NO_NAME),
        ("POST", "/images/create?fromImage=a%FF", 400, NO_NAME),
        ("POST", "/images/create?fromSrc=-&repo=a%FF", 400, NO_NAME),
        ("GET", "/images/a:%FF/json", 400, "invalid reference format"),
        ("GET", "/images/a.b%FF/c/json", 400, "invalid reference format"),
        ("POST", "/images/x/tag?repo=a&tag=%FF", 400, "invalid tag format"),
        ("POST", "/images/x/push?tag=%FF", 400, "invalid tag format"),
        ("POST", "/images/create?fromImage=a&tag=%FF", 400, "invalid tag format"),
    ],
)
def test_a_name_that_is_no_text_is_refused(client: FlaskClient, method: str, target: str, status: int, words: str) -> None:
    response = client.open(target, method=method)
    assert (response.status_code, response.get_json()) == (status, {"message": words})
