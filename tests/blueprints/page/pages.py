"""What tests of pages read in them."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

Ids = dict[str | None, str]


def show(client: FlaskClient, path: str) -> str:
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8"), answer.text
    return answer.text


def names(page: str) -> list[str]:
    """The images that the rows of a page lead to, in their order."""
    return re.findall(r'<th scope="row">\s*<a href="/ui/images/([^"]+)"', page)
