"""Quick answers that their readers take late or not at all."""

from __future__ import annotations

import os
import resource
import select
import socket
import ssl
import stat
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse, IncompleteRead
from itertools import cycle, islice
from pathlib import Path

import pytest
from flask import Flask, Response

from stowage.app.server import answers, connections
from stowage.app.server.answers import Space, Spool
from tests.app.server.worker import PATIENCE, Served, rest, serving, statuses
from tests.conformance.test_edges import CLOSE, head
from tests.fake_registry.server import CERTIFICATE
from tests.resources import nameless_files
from tests.waiting import poll

PING = head("GET", "/_ping", CLOSE)
LONG = b"long" * 100_000
ASK = head("GET", "/version")
PIECES = [os.urandom(40_000) for _ in range(50)]
STREAMED = 24 << 20
"""Bytes of a streamed answer: more than the sockets of two sides hold."""
WHOLE = b"".join(islice(cycle(PIECES), STREAMED // len(PIECES[0])))

Answer = Callable[[], Response]


@pytest.fixture
def answering(app: Flask) -> Callable[[Answer], Flask]:
    """Give the application another view of a quick route, /version."""

    def answer_with(view: Answer) -> Flask:
        app.view_functions["system_version.system_version"] = view
        return app

    return answer_with


@pytest.fixture
def wordy(answering: Callable[[Answer], Flask]) -> Flask:
    """The application, with an answer that does not fit in a socket."""
    return answering(lambda: Response(LONG))


@pytest.fixture
def streaming(answering: Callable[[Answer], Flask]) -> Flask:
    """The application, with an answer that is made piece by piece."""
    return answering(lambda: Response(islice(cycle(PIECES), STREAMED // len(PIECES[0]))))


def quiet(served: Served) -> None:
    """Wait until no request has a thread."""
    poll(lambda: not served.worker._seats.running)


def spools(folder: Path) -> int:
    """How many answers are stored in a folder."""
    return len(nameless_files(folder))


def read(connection: socket.socket) -> bytes:
    """The body of the next answer on a connection."""
    with HTTPResponse(connection) as response:
        response.begin()
        return response.read()


def is_cut(connection: socket.socket) -> bool:
    """Whether the next answer begins and has no end."""
    with pytest.raises((IncompleteRead, ConnectionResetError)):
        read(connection)
    return rest(connection) == b""


def test_a_quick_answer_waits_for_its_reader_without_a_thread(wordy: Flask, tmp_path: Path, held: ExitStack) -> None:
    served = held.enter_context(serving(wordy, tmp_path))
    readers = [held.enter_context(served.over_unix()) for _ in range(20)]
    for reader in readers:
        reader.sendall(ASK * 4 + head("GET", "/version", CLOSE))
    assert statuses(served.exchange(PING)) == ["200"]
    for reader in readers:
        assert rest(reader).count(LONG) == 5


def over_tcp(served: Served) -> socket.socket:
    return served.connect()


def over_tls(served: Served) -> socket.socket:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    context.check_hostname = False
    context.load_cert_chain(CERTIFICATE)
    return context.wrap_socket(served.connect())


@pytest.mark.parametrize("connect", [Served.over_unix, over_tcp, over_tls])
def test_a_streamed_answer_arrives_whole_at_a_late_reader(
    streaming: Flask, tmp_path: Path, held: ExitStack, connect: Callable[[Served], socket.socket]
) -> None:
    files = {f"STOWAGE_TLS_{name}": str(CERTIFICATE) for name in ("CERT", "KEY", "CA")} if connect is over_tls else {}
    served = held.enter_context(serving(streaming, tmp_path, **files))
    reader = held.enter_context(connect(served))
    for _ in range(2):
        reader.sendall(ASK)
        poll(lambda: spools(tmp_path / "root"))
        quiet(served)
        assert statuses(served.exchange(PING)) == ["200"]
        assert read(reader) == WHOLE
        poll(lambda: not spools(tmp_path / "root"))
    reader.sendall(PING)
    assert read(reader) == b"OK"


def test_a_streamed_answer_of_http_1_0_ends_with_its_connection(streaming: Flask, tmp_path: Path) -> None:
    with serving(streaming, tmp_path) as served, served.over_unix() as reader:
        reader.sendall(b"GET /version HTTP/1.0\r\n\r\n")
        poll(lambda: served.worker._doors[True].sending)
        header, _, body = rest(reader).partition(b"\r\n\r\n")
    assert body == WHOLE
    assert b"Transfer-Encoding" not in header


def test_the_first_bytes_are_sent_before_the_last_are_made(answering: Callable[[Answer], Flask], tmp_path: Path) -> None:
    arrived = threading.Event()

    def pieces() -> Iterator[bytes]:
        yield LONG
        yield b"late" if arrived.wait(PATIENCE) else b"nobody has read"

    with serving(answering(lambda: Response(pieces())), tmp_path) as served, served.over_unix() as reader:
        reader.sendall(ASK)
        assert reader.recv(1, socket.MSG_PEEK)
        arrived.set()
        assert read(reader) == LONG + b"late"


def test_an_unread_answer_takes_hardly_any_memory(streaming: Flask, tmp_path: Path, held: ExitStack) -> None:
    served = held.enter_context(serving(streaming, tmp_path))
    readers = [held.enter_context(served.over_unix()) for _ in range(4)]
    tracemalloc.start()
    held.callback(tracemalloc.stop)
    for reader in readers:
        reader.sendall(ASK)
    poll(lambda: served.worker._doors[True].spools._taken > 3 * STREAMED)
    quiet(served)
    assert tracemalloc.get_traced_memory()[1] < STREAMED // 4
    for reader in readers:
        assert read(reader) == WHOLE


@pytest.mark.parametrize("made", [1000, len(LONG), STREAMED])
def test_an_answer_that_fails_has_no_end(answering: Callable[[Answer], Flask], tmp_path: Path, made: int) -> None:
    def pieces() -> Iterator[bytes]:
        yield WHOLE[:made]
        raise RuntimeError("no more")

    with serving(answering(lambda: Response(pieces())), tmp_path) as served, served.over_unix() as reader:
        reader.sendall(ASK)
        header, _, body = rest(reader).partition(b"\r\n\r\n")
        assert b"Content-Length" not in header
        assert not body.endswith(b"\r\n0\r\n\r\n")
        poll(lambda: not spools(tmp_path / "root"))
        assert statuses(served.exchange(PING)) == ["200"]


@pytest.mark.parametrize("connect", [Served.over_unix, over_tcp])
def test_the_answer_of_a_client_that_leaves_is_removed(
    streaming: Flask, tmp_path: Path, connect: Callable[[Served], socket.socket]
) -> None:
    with serving(streaming, tmp_path) as served:
        with connect(served) as reader:
            reader.sendall(ASK)
            poll(lambda: spools(tmp_path / "root"))
        poll(lambda: not spools(tmp_path / "root"))
        poll(lambda: not any(door.spools._taken for door in served.worker._doors.values()))


def test_a_reader_that_takes_nothing_is_given_up(wordy: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)
    with serving(wordy, tmp_path) as served, served.over_unix() as reader:
        reader.sendall(ASK)
        assert reader.recv(1, socket.MSG_PEEK)
        served.stop()
        assert not spools(tmp_path / "root")
        assert 0 < len(rest(reader)) < len(LONG)


def test_where_unread_answers_take_much_of_the_disk_the_longest_unread_is_cut(
    streaming: Flask, tmp_path: Path, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "_CROWDED_BYTES", STREAMED * 3 // 2)
    served = held.enter_context(serving(streaming, tmp_path))
    door = served.worker._doors[True]
    first, second = (held.enter_context(served.over_unix()) for _ in range(2))
    first.sendall(ASK)
    poll(lambda: door.sending)
    second.sendall(ASK)
    select.select([second], [], [])
    poll(lambda: door.count == 1)
    assert is_cut(first)
    assert read(second) == WHOLE


def test_answers_together_take_no_more_of_the_disk_than_the_limit(
    streaming: Flask, tmp_path: Path, held: ExitStack, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(answers, "_MOST_BYTES", STREAMED // 2)
    served = held.enter_context(serving(streaming, tmp_path))
    reader = held.enter_context(served.over_unix())
    reader.sendall(ASK)
    select.select([reader], [], [])
    quiet(served)
    assert is_cut(reader)
    assert "an answer was cut" in caplog.text
    assert not spools(tmp_path / "root")
    assert statuses(served.exchange(PING)) == ["200"]


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Let this process write no file beyond a size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_answer_that_the_disk_does_not_take_is_cut_alone(streaming: Flask, tmp_path: Path, held: ExitStack) -> None:
    served = held.enter_context(serving(streaming, tmp_path))
    stored, failing = (held.enter_context(served.over_unix()) for _ in range(2))
    stored.sendall(ASK)
    poll(lambda: served.worker._doors[True].sending)
    with small_files(STREAMED // 2):
        failing.sendall(ASK)
        select.select([failing], [], [])
        quiet(served)  # a reader that is as fast as the answer is made would leave nothing for the disk
    assert is_cut(failing)
    assert spools(tmp_path / "root") == 1
    assert read(stored) == WHOLE


def test_bytes_are_taken_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    stored = Spool(Space(tmp_path))
    stored.add(b"one")
    assert stored.take(2) == b"on"
    stored.add(memoryview(b"two"))
    stored.add(b"")
    assert (len(stored), stored.take(9), stored.take(9)) == (4, b"etwo", b"")
    stored.add(bytearray(b"three"))
    assert stored.take(9) == b"three"


def test_the_file_has_no_name_and_is_its_users_alone(tmp_path: Path) -> None:
    stored = Spool(Space(tmp_path))
    stored.add(b"secret")
    assert stored._file is not None
    assert stat.S_IMODE(os.fstat(stored._file.fileno()).st_mode) == 0o600
    assert os.fstat(stored._file.fileno()).st_dev == tmp_path.stat().st_dev
    assert list(tmp_path.iterdir()) == []
    stored.close()


def test_space_is_taken_until_all_was_read_or_the_spool_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "_CROWDED_BYTES", 5)
    monkeypatch.setattr(answers, "_MOST_BYTES", 9)
    space = Space(tmp_path)
    first, second = Spool(space), Spool(space)
    first.add(b"12345")
    first.take(4)
    assert not space.is_crowded
    second.add(b"6")
    assert space.is_crowded
    with pytest.raises(OSError, match="too much of the disk"):
        second.add(b"7890")
    first.take(1)
    second.add(b"78901234")
    second.close()
    first.add(b"123456789")
    first.close()
    first.close()


def test_a_spool_without_its_folder_takes_nothing(tmp_path: Path) -> None:
    stored = Spool(Space(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        stored.add(b"content")
    assert len(stored) == 0
