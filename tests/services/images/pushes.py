"""What tests of pushes begin with, and look at."""

from __future__ import annotations

import json

from stowage.services.engine import Engine
from stowage.services.images.push import push_image
from stowage.services.oci.reference import Reference
from stowage.services.progress import Progress
from tests.fake_registry import FakeRegistry


def push(engine: Engine, name: str, **options: object) -> list[Progress]:
    """The lines of a whole push; ticks, waits and advances are left out."""
    lines = push_image(engine, Reference.parse(name), **options)  # type: ignore[arg-type]
    return [line for line in lines if line != Progress() and line.status not in ("Waiting", "Pushing")]


def texts(lines: list[Progress]) -> list[str]:
    return [f"{line.id}: {line.status}" if line.id else line.status or json.dumps(line.aux) for line in lines]


def served(registry: FakeRegistry) -> dict[str, bytes]:
    """Everything that was pushed, by digest."""
    return registry.blobs | {name: document.content for (_, name), document in registry.manifests.items() if name.startswith("sha256:")}


def uploads(registry: FakeRegistry) -> list[str]:
    return registry.asked("POST", "PUT", "PATCH")
