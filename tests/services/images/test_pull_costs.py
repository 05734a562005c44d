"""What a pull costs the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.engine import Engine as Database

from stowage.services.engine import Engine
from tests.builders import Layout, make_layer
from tests.fake_registry import FakeRegistry
from tests.services.images.pulls import pull

LAYERS = 10


@contextmanager
def statements() -> Iterator[Counter[str]]:
    """How often each statement is sent while inside."""
    sent: Counter[str] = Counter()

    def note(*call: object) -> None:
        sent[str(call[2])] += 1

    event.listen(Database, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Database, "before_cursor_execute", note)


def test_a_layer_costs_a_pull_one_write_transaction(engine: Engine, registry: FakeRegistry) -> None:
    costs = []
    for layers in (1, 1 + LAYERS):
        layout = Layout()
        image = layout.image([make_layer(f"{layers} {number}") for number in range(layers)])
        name = registry.publish(layout, image, f"team/app{layers}")
        with statements() as sent:
            pull(engine, name)
        costs.append(sent["BEGIN IMMEDIATE"])
    assert costs[1] - costs[0] <= LAYERS
    assert costs[1] <= LAYERS + 8
