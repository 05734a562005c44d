"""The transfers of several processes, as each of them sees all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from stowage.services.errors import Internal, NotFound, TransferEnded
from stowage.services.meter import PartCounts
from stowage.services.system.transfers import Running, Transfers
from stowage.services.transfer_board import FileBoard, Transfer, read_page, write_page
from tests.waiting import poll


class CountingBoard(FileBoard):
    """A board that knows when it was written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.written: list[float] = []

    def post(self, process: str, page: str, transfers: object) -> set[str]:
        self.written.append(time.monotonic())
        return super().post(process, page, transfers)  # type: ignore[arg-type]

    def clear(self, process: str) -> None:
        self.written.append(time.monotonic())
        super().clear(process)


@pytest.fixture
def board(tmp_path: Path) -> CountingBoard:
    return CountingBoard(tmp_path / "board")


@pytest.fixture
def here(board: CountingBoard) -> Transfers:
    return Transfers(lambda: board)


@pytest.fixture
def elsewhere(board: CountingBoard) -> Transfers:
    """Another process, as far as the board can tell."""
    return Transfers(lambda: board)


def running(operation: str = "pull", cut: Callable[[bool], None] = lambda _: None, **options: object) -> Running:
    usual: dict[str, object] = {"names": ["app:1"], "count": lambda: 1, "received": lambda: 0}
    return Running(operation, PartCounts(), cut=cut, **(usual | options))  # type: ignore[arg-type]


@contextmanager
def shown(transfers: Transfers, *each: Running) -> Iterator[None]:
    with ExitStack() as stack:
        for one in each:
            stack.enter_context(transfers.running(one))
        yield


def test_a_process_sees_its_own_transfers_at_once(here: Transfers) -> None:
    parts = PartCounts()
    parts.expect({"a": 100})
    one = Running("push", parts, names=["a:1", "b:1"], count=lambda: 9, received=lambda: 0, registry="r.example", client="docker/1")
    with shown(here, one):
        parts.reach("a", 40)
        [found] = here.find()
        assert (found.operation, found.images, found.image_count, found.registry) == ("push", ("a:1", "b:1"), 9, "r.example")
        assert (found.client, found.done, found.total, [part.done for part in found.parts]) == ("docker/1", 40, 100, [40])
    assert here.find() == []


def test_the_body_counts_if_there_are_no_parts(here: Transfers) -> None:
    with shown(here, running("load", received=lambda: 30, length=90), running("load", received=lambda: 7)):
        assert [(found.done, found.total, found.left) for found in here.find()] == [(30, 90, None), (7, None, None)]


def test_other_processes_see_them_soon_and_no_longer_after_their_end(here: Transfers, elsewhere: Transfers) -> None:
    with shown(here, running()), shown(elsewhere, running("save")):
        poll(lambda: [found.operation for found in elsewhere.find()] == ["pull", "save"])
        poll(lambda: [found.operation for found in here.find()] == ["pull", "save"])
    poll(lambda: here.find() == elsewhere.find() == [])


def test_many_transfers_are_one_write_in_two_seconds(here: Transfers, board: CountingBoard) -> None:
    with shown(here, *(running() for _ in range(20))):
        poll(lambda: len(board.written) >= 3)
    poll(lambda: not board.pages())
    with shown(here, running()):
        poll(board.pages)
    assert min(later - before for before, later in zip(board.written, board.written[1:], strict=False)) > 1.9


def test_a_short_transfer_writes_nothing_and_leaves_no_thread(here: Transfers, board: CountingBoard) -> None:
    poll(lambda: "transfers" not in [thread.name for thread in threading.enumerate()])  # of other tests
    for _ in range(100):
        with shown(here, running()):
            pass
    assert [thread.name for thread in threading.enumerate()].count("transfers") == 1
    poll(lambda: "transfers" not in [thread.name for thread in threading.enumerate()])
    assert board.written == []


def test_a_transfer_of_this_process_is_ended_at_once(here: Transfers) -> None:
    one = running("load")
    with shown(here, one):
        one.check()
        here.end(one.id)
        with pytest.raises(TransferEnded, match="this load was ended by an administrator"):
            one.check()
        assert here.find()[0].is_ending


def test_a_transfer_of_another_process_is_ended_soon(here: Transfers, elsewhere: Transfers) -> None:
    one, other = running(), running()
    with shown(elsewhere, one, other):
        poll(here.find)
        here.end(one.id)
        poll(lambda: one.is_ended)
        assert not other.is_ended


@pytest.mark.parametrize("identifier", ["", "0123456789abcdef", "../stowage", "x" * 10_000])
def test_what_does_not_run_cannot_be_ended(here: Transfers, board: CountingBoard, identifier: str) -> None:
    with pytest.raises(NotFound, match="no transfer with the id"):
        here.end(identifier)
    assert not (board._folder.exists() and os.listdir(board._folder))


def test_one_that_does_not_end_by_itself_loses_its_client_first_to_read_and_then_wholly(here: Transfers) -> None:
    cuts: list[bool] = []
    one = running(cut=cuts.append)
    with shown(here, one):
        here.end(one.id)
        poll(lambda: len(cuts) >= 2)
    assert cuts[:2] == [False, True]


def test_one_that_nobody_ends_is_never_cut(here: Transfers, board: CountingBoard) -> None:
    cuts: list[bool] = []
    with shown(here, running(cut=cuts.append)):
        poll(lambda: len(board.written) >= 3)
    assert cuts == []


def test_a_board_that_fails_ends_no_transfer_and_shows_again_when_it_works(here: Transfers, board: CountingBoard) -> None:
    board._folder.write_text("in the way")
    with shown(here, running()):
        poll(lambda: board.written)
        with pytest.raises(Internal):
            board.post("x", "", [])
        board._folder.unlink()
        poll(board.pages)


def test_a_page_of_another_version_is_left_out() -> None:
    transfer = Transfer("a", "pull", (), 0, "", "", 0, 0, None, 0, None)
    assert read_page(write_page([transfer])) == [transfer]
    assert [read_page(page) for page in ("", "[1]", "{}", '[{"id": "a"}]', '[{"images": 1, "parts": 2}]')] == [[], [], [], [], []]


def test_long_names_are_cut(here: Transfers) -> None:
    with shown(here, running(names=["x" * 10_000])):
        assert len(here.find()[0].images[0]) == 300
