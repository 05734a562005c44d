"""What the scenarios share: one gets an Api, the folder of archives, and the address of a registry that every engine reaches."""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conformance.recorded.api import Api
from tests.conformance.recorded.scenarios import load, wipe

Scenario = Callable[[Api, Path, str], None]
IMPORTED = ("Id", "Created", "Digest", "RepoDigests", "LastTagTime", "Layers")
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MALFORMED = ("UPPER", "bad%20name", "a..b", "-x", "a/b/", "a:b:c", "x@sha256:short", "a" * 64)


def clear(a: Api) -> None:
    """Remove every image, also those with damaged content, which an engine may find by name only."""
    for image in a.raw("GET", "/v1.45/images/json?all=1").json():
        for name in image["RepoTags"] or []:
            a.raw("DELETE", f"/v1.45/images/{urllib.parse.quote(name)}?force=1")
    wipe(a)


def fresh(a: Api, folder: Path, *names: str) -> None:
    clear(a)
    for name in names:
        load(a, folder, f"{name}.tar", record=False)


def shapes(value: Any) -> Any:
    """The JSON types of a value; of a list, those of all its entries together."""
    if isinstance(value, dict):
        return {key: shapes(entry) for key, entry in sorted(value.items())}
    if isinstance(value, list):
        return [json.loads(text) for text in sorted({json.dumps(shapes(entry)) for entry in value})]
    return type(value).__name__
