"""The same requests sent to a service and to a Docker Engine 26 (API 1.45); every difference has its reason in docs/compatibility.md.

Where our answer equals the one recorded from moby's main branch, the answer of the older Engine is not compared.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import Service
from tests.conformance.differential import images, registries, requests
from tests.conformance.differential.allowed import ALLOWED, Allowed
from tests.conformance.recorded import archives
from tests.conformance.recorded import scenarios as recorded
from tests.conformance.recorded.api import Api, Resp
from tests.conformance.test_recorded_answers import COMPATIBILITY, RECORDED, differences
from tests.ports import free_port

NEWEST = (1, 45)
OWN = (*requests.SCENARIOS, *registries.SCENARIOS, *images.SCENARIOS)
SCENARIOS = (*recorded.SCENARIOS, *OWN)
Json = dict[str, Any]


class UpToEngine(Api):
    """Leaves out requests of API versions that the older engine does not know."""

    def call(  # type: ignore[override]  # all that follows the query is given by name
        self, label: str, method: str, path: str, query: Any = None, v: str | None = "1.45", **options: Any
    ) -> Resp:
        if v and tuple(map(int, v.split("."))) > NEWEST:
            return Resp(0, {}, b"{}")
        return super().call(label, method, path, query, v=v, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archives")
    for name, content in archives.build().items():
        (path / name).write_bytes(content)
    return path


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory, dockerd: str) -> Iterator[tuple[int, int]]:
    """The ports of a Docker Engine and of a service."""
    service = Service(tmp_path_factory.mktemp("differential") / "stowage", free_port())
    service.start()
    yield int(dockerd.rpartition(":")[2]), service.port
    service.stop()


def play(scenario: Any, port: int, folder: Path, registry: str) -> dict[tuple[str, int], Json]:
    api = UpToEngine("127.0.0.1", port)
    scenario(api, folder, *([registry] if scenario in OWN else []))
    return numbered(api.log)


def numbered(log: list[Json]) -> dict[tuple[str, int], Json]:
    """The entries by label and how often the label came before, without what names the request and the engine's newest API."""
    seen: Counter[str] = Counter()
    entries = {}
    for entry in log:
        entries[entry["label"], seen[entry["label"]]] = {**entry, "request": "", "api": ""}
        seen[entry["label"]] += 1
    return entries


def reason_for(scenario: str, label: str, line: str) -> Allowed | None:
    return next((allowed for allowed in ALLOWED if allowed.covers(scenario, label, line)), None)


@pytest.fixture(scope="module")
def used() -> set[Allowed]:
    """The entries of the list that a difference had."""
    return set()


@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.__name__) for scenario in SCENARIOS])
def test_answers_are_those_of_a_docker_engine(
    scenario: Any, engines: tuple[int, int], folder: Path, registry: str, used: set[Allowed]
) -> None:
    main = numbered(json.loads(RECORDED.read_text()).get(scenario.__name__, []))
    theirs, ours = (play(scenario, port, folder, registry) for port in engines)
    assert list(theirs) == list(ours)
    unexplained = []
    for key, got in ours.items():
        if got == main.get(key):
            continue
        found = {line: reason_for(scenario.__name__, key[0], line) for line in differences(theirs[key], got)}
        used |= {allowed for allowed in found.values() if allowed}
        unexplained += [f"{key[0]}  {line}" for line, allowed in found.items() if allowed is None]
    assert not unexplained, "\n".join(unexplained)


def test_every_reason_is_still_needed(request: pytest.FixtureRequest, used: set[Allowed]) -> None:
    played = [item for item in request.session.items if item.path == request.path]
    if len(played) < len(SCENARIOS):
        pytest.skip("tells something only after every scenario")
    assert not [allowed for allowed in ALLOWED if allowed not in used]


def test_every_reason_is_documented() -> None:
    document = COMPATIBILITY.read_text()
    assert not {allowed.reason for allowed in ALLOWED if f"**{allowed.reason}.**" not in document}
