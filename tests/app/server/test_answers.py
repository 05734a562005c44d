"""Quick answers that their readers do not take."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask, Response

from stowage.server import reception
from stowage.server.seats import Kind
from tests.app.server.worker import PATIENCE, rest, serving, statuses
from tests.conformance.test_edges import CLOSE, head
from tests.waiting import poll

PING = head("GET", "/_ping", CLOSE)
LONG = b"long" * 100_000
ASK = head("GET", "/version")


@pytest.fixture
def wordy(app: Flask) -> Flask:
    """The application, with an answer that does not fit in a socket."""
    app.view_functions["system_version.system_version"] = lambda: Response(LONG)
    return app


def test_a_quick_answer_waits_for_its_reader_without_a_thread(wordy: Flask, tmp_path: Path, held: ExitStack) -> None:
    served = held.enter_context(serving(wordy, tmp_path))
    readers = [held.enter_context(served.over_unix()) for _ in range(20)]
    for reader in readers:
        reader.sendall(ASK * 4 + head("GET", "/version", CLOSE))
    assert statuses(served.exchange(PING)) == ["200"]
    for reader in readers:
        assert rest(reader).count(LONG) == 5


def test_a_reader_that_takes_nothing_is_given_up(wordy: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "STALL_SECONDS", 0.2)
    assert_given_up(wordy, tmp_path)


def test_readers_have_less_time_where_their_answers_take_much_memory(wordy: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reception, "_HURRY_SECONDS", 0.2)
    monkeypatch.setattr(reception, "_ANSWER_BYTES", len(LONG) // 10)
    assert_given_up(wordy, tmp_path)


def test_no_more_requests_are_quick_while_answers_take_much_memory(
    wordy: Flask, tmp_path: Path, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reception, "_HURRY_SECONDS", PATIENCE)
    monkeypatch.setattr(reception, "_ANSWER_BYTES", len(LONG) // 10)
    served = held.enter_context(serving(wordy, tmp_path))
    answers, running = served.worker._doors[True].answers, served.worker._seats._running

    def ask() -> None:
        held.enter_context(served.over_unix()).sendall(ASK)

    ask()
    poll(lambda: answers.total > len(LONG) // 10)
    for _ in range(6):
        ask()
    poll(lambda: running[Kind(quick=False, local=True)] == served.worker.cfg.threads)
    assert answers.total < len(LONG)


def assert_given_up(app: Flask, folder: Path) -> None:
    with serving(app, folder) as served, served.over_unix() as reader:
        reader.sendall(ASK)
        assert reader.recv(1, socket.MSG_PEEK)
        served.stop()
        assert 0 < len(rest(reader)) < len(LONG)
