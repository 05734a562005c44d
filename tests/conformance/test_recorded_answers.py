"""The recorded answers of a Docker Engine (API 1.56) replayed on a running service; every difference is listed here with its reason."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import Service
from tests.conformance.recorded import archives, scenarios
from tests.conformance.recorded.api import Api

COMPATIBILITY = Path(__file__).resolve().parents[2] / "docs" / "compatibility.md"
RECORDED = Path(__file__).with_name("recorded") / "answers-1.56.json"

SHARED = "Removing a platform keeps what others need"
TWIN = "A docker-archive's layer that is stored compressed is not stored again"
SIZES = "Sizes do not depend on what was unpacked"

ALLOWED = {
    # scenario: {labels: heading of the reason in docs/compatibility.md}
    "load_all_forms": {r"load classic-untagged.tar": TWIN},
    "lists": {r"list shared-size=1": SIZES, r"legacy filter 1.40": "The old `filter` parameter works below 1.41"},
    "histories": {r"history oldstyle .*": SIZES, r"history platform .*arm64.* 1.48": SIZES},
    "deletes": {r"multi after platform delete": SHARED},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("archives")
    for name, content in archives.build().items():
        (path / name).write_bytes(content)
    return path


def differences(want: Any, got: Any, path: str = "") -> Iterator[str]:
    """What differs between two normalised answers, a line each."""
    if type(want) is not type(got):
        yield f"{path}: want {json.dumps(want)[:200]}, got {json.dumps(got)[:200]}"
    elif isinstance(want, dict):
        for key in sorted({*want, *got}):
            if key not in got or key not in want:
                yield f"{path}.{key}: {'missing' if key not in got else 'extra ' + json.dumps(got[key])[:120]}"
            else:
                yield from differences(want[key], got[key], f"{path}.{key}")
    elif isinstance(want, list) and len(want) == len(got):
        for index, (left, right) in enumerate(zip(want, got, strict=True)):
            yield from differences(left, right, f"{path}[{index}]")
    elif want != got:
        yield f"{path}: want {json.dumps(want)[:200]}, got {json.dumps(got)[:200]}"


@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.__name__) for scenario in scenarios.SCENARIOS])
def test_answers_are_those_of_the_engine(scenario: Any, shared: Service, folder: Path) -> None:
    wanted = json.loads(RECORDED.read_text())[scenario.__name__]
    api = Api("127.0.0.1", shared.port)
    scenario(api, folder)

    allowed = ALLOWED.get(scenario.__name__, {})
    unexplained, used = [], set()
    assert [entry["label"] for entry in api.log] == [entry["label"] for entry in wanted]
    for want, got in zip(wanted, api.log, strict=True):
        found = list(differences({**want, "request": ""}, {**got, "request": ""}))
        reason = next((pattern for pattern in allowed if re.fullmatch(pattern, want["label"])), None)
        if found and reason is None:
            unexplained.append("\n  ".join([f"{want['label']}  [{want.get('request', '')}]", *found[:8]]))
        elif found and reason is not None:
            used.add(reason)
    assert not unexplained, "\n".join(unexplained)
    assert used == set(allowed), f"no longer different: {set(allowed) - used}"


def test_every_difference_is_documented() -> None:
    document = COMPATIBILITY.read_text()
    reasons = {reason for allowed in ALLOWED.values() for reason in allowed.values()}
    assert not [reason for reason in reasons if f"**{reason}.**" not in document]
