"""A store whose bytes are counted."""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from tests.builders import Layout, make_layer, put_image


def put(engine: Engine, name: str | None, layers: dict[str, int], **fields: object) -> None:
    """An image of incompressible-looking layers by label and size."""
    layout = Layout()
    raw = [make_layer(label, size) for label, size in layers.items()]
    descriptor = layout.image(raw, compression="none", config={"Labels": {"of": str(name)}}, **fields)  # type: ignore[arg-type]
    put_image(engine, name, layout, descriptor)


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """base:1 of one layer, app:1 and app:2 on it with another layer of theirs, and alone:1."""
    put(engine, "base:1", {"base": 50_000})
    put(engine, "app:1", {"base": 50_000, "app": 30_000, "one": 10_000})
    put(engine, "app:2", {"base": 50_000, "app": 30_000, "two": 20_000})
    put(engine, "alone:1", {"alone": 5_000})
    return engine
