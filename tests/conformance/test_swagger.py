"""Answers of a service held against moby's own description of its API: the file for 1.45 that Debian packages, and what later versions
changed.
"""

from __future__ import annotations

import json
import re
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import ExitStack
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import Layout, make_layer
from tests.conformance.conftest import REPOSITORY, Service
from tests.conformance.recorded.api import Api, Resp
from tests.conformance.swagger.changes import CHANGES
from tests.conformance.swagger.description import Description
from tests.conformance.swagger.known import UNABLE, known_problems
from tests.conformance.swagger.requests import ARCHIVES, ASKED, Ask
from tests.fake_registry import FakeRegistry, Fault
from tests.fake_registry.index import FakeIndex, IndexFault
from tests.ports import free_port

DESCRIBED = "1.45"
FILES = (REPOSITORY / ".venv/docker-api.yaml", Path("/usr/share/gocode/src/github.com/docker/docker/api/swagger.yaml"))
VERSIONS = tuple(f"1.{minor}" for minor in range(45, 57))
FOUND = {"name": "team/app", "description": "The app", "star_count": 7, "is_official": False}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """moby's file."""
    found = next((path for path in FILES if path.exists()), None)
    if found is None:
        pytest.skip("moby's description of its API is not here: `make .venv/docker-api.yaml` fetches it from Debian")
    described = yaml.load(found.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    if described["info"]["version"] != DESCRIBED:
        pytest.skip(f"{found} describes API {described['info']['version']}, not {DESCRIBED}")
    return dict(described)


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A service that has images of every kind."""
    service = Service(tmp_path_factory.mktemp("swagger") / "stowage", free_port())
    service.start()
    asked = Api("127.0.0.1", service.port)
    for archive in ARCHIVES.values():
        asked.raw("POST", "/images/load", archive)
    yield asked
    service.stop()


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    """Of a registry with an image, an index and an image whose layer is not what it should be; of one that wants a password, and one
    whose tokens nobody gets; of two search indexes, of which one fails."""
    layout = Layout()
    image, listed, broken = layout.image([make_layer("app")]), layout.multi_platform(), layout.image([make_layer("broken")])
    registry, private, refusing = FakeRegistry(), FakeRegistry(auth="basic", user="me:secret"), FakeRegistry(auth="bearer", echoes=True)
    with ExitStack() as stack:
        for server in (registry, private, refusing):
            stack.enter_context(server.serve())
        for repository, descriptor in (("team/app", image), ("team/multi", listed), ("team/broken", broken)):
            registry.publish(layout, descriptor, repository)
        registry.faults[json.loads(layout.blobs[broken["digest"]])["layers"][0]["digest"]] = Fault.WRONG_BYTES
        index, broken_index = (stack.enter_context(FakeIndex([FOUND], fault=fault).serve()) for fault in (None, IndexFault.BROKEN))
        registries = {"registry": registry.host, "private": private.host, "refusing": refusing.host}
        yield {**registries, "index": index.host, "broken_index": broken_index.host}


def send(api: Api, version: str, ask: Ask, words: dict[str, str]) -> Resp:
    method, path = ask.operation.split(" ")
    path = filled(re.sub(r"\{\w+\}", ask.name, path), words)
    query = urllib.parse.quote(filled(ask.query, words), safe="=&%:/")
    body = filled(json.dumps(ask.json), words).encode() if ask.json else ask.body
    return api.raw(method, f"/v{version}{path}?{query}", body, {"Content-Type": "application/json" if ask.json else "application/x-tar"})


def filled(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{word}}}", value)
    return text


def problems(description: Description, ask: Ask, answer: Resp) -> Iterator[str]:
    """What is not as asked for or as described."""
    if answer.status != (ask.status or answer.status):
        yield f"status {answer.status} instead of {ask.status}: {answer.body[:200]!r}"
    yield from description.status_problems(ask.operation, answer.status, answer.headers)
    content_type = answer.headers["Content-Type"]
    if ask.lines and answer.status == HTTPStatus.OK:
        yield from description.line_problems(ask.lines, content_type, answer.messages())
    else:
        yield from description.body_problems(ask.operation, answer.status, content_type, answer.body)


@pytest.mark.parametrize("version", VERSIONS)
def test_answers_are_as_moby_describes_them(version: str, document: dict[str, Any], api: Api, addresses: dict[str, str]) -> None:
    description = Description(document, CHANGES, version)
    words = {**addresses, "began": str(int(time.time()))}
    found = set()
    for ask in ASKED:
        if ask.since <= version:
            answer = send(api, version, ask, {**words, "now": f"{time.time():.9f}"})
            found |= {(ask.operation, problem) for problem in problems(description, ask, answer)}
    known = known_problems(version)
    assert sorted(found - known) == []
    assert sorted(known - found) == [], "no longer needed"


def test_every_other_operation_has_a_described_answer_or_is_not_implemented(document: dict[str, Any], api: Api) -> None:
    description = Description(document, CHANGES, DESCRIBED)
    found = {}
    for operation in description.operations - {ask.operation for ask in ASKED}:
        ask = Ask(operation, "none", body=b"", status=0)
        found[operation] = list(problems(description, ask, send(api, DESCRIBED, ask, {})))
    assert {operation: told for operation, told in found.items() if told} == {key: ["status 501 is not described"] for key in UNABLE}
