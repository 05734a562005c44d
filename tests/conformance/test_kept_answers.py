"""What a worker keeps of answers about one image is never older than the last change, whichever worker made that."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.builders import Layout, make_layer
from tests.conformance.conftest import Service

CLIENTS = 8
"""So many that both workers have some of their connections."""


def ask(client: http.client.HTTPConnection, method: str, path: str, body: bytes | None = None) -> Any:
    client.request(method, path, body, {"Content-Type": "application/x-tar"} if body else {})
    answer = client.getresponse()
    text = answer.read()
    assert answer.status < 300, text
    return json.loads(text) if method == "GET" else None


@pytest.fixture
def clients(service: Service) -> Iterator[list[http.client.HTTPConnection]]:
    """Clients of a service that has the image `app:1`, each with a connection that it keeps."""
    layout = Layout()
    layout.tag(layout.image([make_layer("app")]), "docker.io/library/app:1")
    with ExitStack() as opened:
        clients = [opened.enter_context(closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60))) for _ in range(CLIENTS)]
        ask(clients[0], "POST", "/images/load", layout.to_tar())
        yield clients


def test_a_tag_by_any_client_is_in_the_next_answer_of_all(clients: list[http.client.HTTPConnection]) -> None:
    names = ["app:1"]
    for number, client in enumerate(clients):
        ask(client, "POST", f"/images/app:1/tag?repo=app&tag=more{number}")
        names.append(f"app:more{number}")
        for other in clients:
            assert sorted(ask(other, "GET", "/v1.45/images/app:1/json")["RepoTags"]) == names
            assert sorted(ask(other, "GET", "/v1.45/images/app:1/history")[0]["Tags"]) == names


def test_a_name_that_moves_has_the_answers_of_its_new_image_at_once(clients: list[http.client.HTTPConnection]) -> None:
    layout = Layout()
    layout.tag(layout.image([make_layer("other")], author="other"), "docker.io/library/other:1")
    ask(clients[-1], "POST", "/images/load", layout.to_tar())
    ids = [ask(clients[0], "GET", f"/images/{name}/json")["Id"] for name in ("app:1", "other:1")]
    ask(clients[0], "POST", "/images/app:1/tag?repo=first&tag=1")
    for number, client in enumerate(clients):
        source = ("other:1", "first:1")[number % 2]
        ask(client, "POST", f"/images/{source}/tag?repo=app&tag=1")
        for other in clients:
            assert ask(other, "GET", "/images/app:1/json")["Id"] == ids[1 - number % 2]
            assert ask(other, "GET", "/images/app:1/history")[0]["Id"] == ids[1 - number % 2]
