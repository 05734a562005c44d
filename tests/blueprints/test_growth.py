"""What a request costs the database does not depend on how many images the store has: counted, not timed."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event
from sqlalchemy.engine import Engine as Database

from benchmarks.growth import fill, requests, send
from stowage.services.engine import Engine
from stowage.services.images.delete import delete_image
from stowage.services.images.load import load_image
from tests.builders import simple_layout

SMALL, LARGE = 40, 400
STEP = 10
LISTS_ALL = {"list all", "df, items"}
PAGES = {
    "page, what to delete",
    "page, overview",
    "page, images by size",
    "page, images of a team",
    "page, images of a layer",
    "page, family",
}
"""What shows a part of all images, which it finds, counts or orders in a fixed number of queries."""
CHOOSES = "page, what to delete"
"""It weighs at most 1,000 images, 250 at a time, until they free what is wanted."""
SCANS = {"list */NAME", "label!=team", "df, totals", "prune, finds nothing"}
"""What has to look at every name, every label or every blob, in one query."""


class Work:
    """Statements that the database got, and the instructions of SQLite's virtual machine for them, roughly."""

    def __init__(self) -> None:
        self.statements = self.instructions = 0

    def note_statement(self, *_: object) -> None:
        self.statements += 1

    def note_instructions(self) -> None:
        self.instructions += STEP

    def watch(self, connection: Any, *_: object) -> None:
        if isinstance(connection, sqlite3.Connection):
            connection.set_progress_handler(self.note_instructions, STEP)


@contextmanager
def counting() -> Iterator[Work]:
    work = Work()
    listeners = (("connect", work.watch), ("before_cursor_execute", work.note_statement))
    for name, listener in listeners:
        event.listen(Database, name, listener)
    try:
        yield work
    finally:
        for name, listener in listeners:
            event.remove(Database, name, listener)


def cost(engine: Engine, act: Callable[[], object]) -> Work:
    """The work of an action on connections of its own, once what it compiles and reads first is there."""
    act()
    engine.metadata.close()
    with counting() as work:
        act()
    engine.metadata.close()
    return work


def load_and_delete(engine: Engine) -> None:
    for _ in load_image(engine, io.BytesIO(simple_layout("docker.io/library/new:1").to_tar())):
        pass
    delete_image(engine, "new:1")


@pytest.mark.parametrize("what", [what for what, _ in requests(SMALL)])
def test_a_request_costs_the_same_in_a_large_store(engine: Engine, client: FlaskClient, what: str) -> None:
    fill(engine.metadata, SMALL)
    small = cost(engine, partial(send, client, dict(requests(SMALL))[what]))
    fill(engine.metadata, LARGE, first=SMALL)
    large = cost(engine, partial(send, client, dict(requests(LARGE))[what]))
    assert large.statements == small.statements or (what == CHOOSES and large.statements <= 2 * small.statements)
    if what in PAGES:
        assert large.instructions <= 700 * LARGE
    elif what not in LISTS_ALL | SCANS:
        assert large.instructions <= 1.5 * small.instructions + 300
    elif what not in LISTS_ALL:
        assert large.instructions <= 60 * LARGE


def test_an_image_comes_and_goes_at_the_same_cost_in_a_large_store(engine: Engine) -> None:
    fill(engine.metadata, SMALL)
    small = cost(engine, partial(load_and_delete, engine))
    fill(engine.metadata, LARGE, first=SMALL)
    large = cost(engine, partial(load_and_delete, engine))
    assert large.statements == small.statements
    assert large.instructions <= 1.5 * small.instructions + 300
