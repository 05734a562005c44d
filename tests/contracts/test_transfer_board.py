"""What every board of transfers does, whatever it is made of."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from stowage.services.metadata.database import transaction
from stowage.services.metadata.store import MetadataStore
from stowage.services.transfer_board import FileBoard, TransferBoard

Age = Callable[[int], None]
"""Makes everything on the board this many seconds older."""


@pytest.fixture
def board(database: str, metadata: MetadataStore, tmp_path: Path) -> TransferBoard:
    return metadata.board() if database == "postgresql" else FileBoard(tmp_path / "transfers")


@pytest.fixture
def other(database: str, other_store: MetadataStore, tmp_path: Path) -> TransferBoard:
    """The same board, as another process opens it."""
    return other_store.board() if database == "postgresql" else FileBoard(tmp_path / "transfers")


@pytest.fixture
def age(database: str, metadata: MetadataStore, tmp_path: Path) -> Age:
    def age_rows(seconds: int) -> None:
        with transaction(metadata._engine(), writes=True) as connection:
            connection.exec_driver_sql(f"UPDATE running_transfers SET renewed_at = renewed_at - {seconds}")
            connection.exec_driver_sql(f"UPDATE transfer_end SET asked_at = asked_at - {seconds}")

    def age_files(seconds: int) -> None:
        for path in (tmp_path / "transfers").iterdir():
            then = path.stat().st_mtime - seconds
            os.utime(path, (then, then))

    return age_rows if database == "postgresql" else age_files


def test_nothing_is_on_a_new_board(board: TransferBoard) -> None:
    assert board.pages() == {}


def test_every_process_sees_the_last_page_of_each(board: TransferBoard, other: TransferBoard) -> None:
    board.post("one", "first", [])
    other.post("two", "ünïcode, 'quoted' %s", [])
    board.post("one", "second", [])
    assert board.pages() == other.pages() == {"one": "second", "two": "ünïcode, 'quoted' %s"}


def test_a_page_that_is_cleared_is_gone(board: TransferBoard, other: TransferBoard) -> None:
    board.post("one", "page", [])
    board.clear("one")
    board.clear("never")
    assert other.pages() == {}


def test_what_a_dead_process_left_disappears(board: TransferBoard, other: TransferBoard, age: Age) -> None:
    board.post("dead", "page", [])
    age(10)
    other.post("living", "page", [])
    assert board.pages() == {"living": "page"}


def test_a_page_that_is_renewed_stays(board: TransferBoard, age: Age) -> None:
    board.post("one", "page", [])
    age(6)
    board.post("one", "page", [])
    age(6)
    assert board.pages() == {"one": "page"}


def test_who_runs_a_transfer_learns_once_that_it_is_to_end(board: TransferBoard, other: TransferBoard) -> None:
    other.end("b")
    other.end("b")
    other.end("c")
    assert board.post("one", "page", ["a", "b"]) == {"b"}
    assert board.post("one", "page", ["a", "b"]) == set()
    assert other.post("two", "page", ["c"]) == {"c"}


def test_an_end_that_nobody_takes_is_forgotten(board: TransferBoard, other: TransferBoard, age: Age) -> None:
    other.end("a")
    age(100)
    assert board.post("one", "page", ["b"]) == set()
    assert board.post("one", "page", ["a"]) == set()


def test_a_page_is_read_whole_while_it_is_replaced(board: TransferBoard, other: TransferBoard) -> None:
    pages = [letter * 100_000 for letter in "ab"]
    until = time.monotonic() + 0.3
    board.post("one", pages[0], [])
    number = 0
    while time.monotonic() < until:
        number += 1
        board.post("one", pages[number % 2], [])
        assert other.pages()["one"] in pages
