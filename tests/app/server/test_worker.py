"""What the main thread of a worker does for connections that no thread works for."""

from __future__ import annotations

import errno
import os
import select
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from types import SimpleNamespace

import pytest
from flask import Flask

from stowage.app import peers
from stowage.app.server import connections, worker
from stowage.app.server.seats import Kind, Pace
from stowage.app.server.serving import Server
from tests.app.server.worker import PATIENCE, Served, rest, serving, statuses
from tests.conformance.test_edges import CLOSE, head, parse
from tests.fake_registry.server import CERTIFICATE
from tests.key_updates import KeyUpdates

PING = head("GET", "/_ping", CLOSE)
FORM = "Content-Type: application/x-www-form-urlencoded"


@pytest.fixture
def served(app: Flask, tmp_path: Path) -> Iterator[Served]:
    with serving(app, tmp_path) as running:
        yield running


def upload(connection: socket.socket) -> None:
    """Begin a load that does not end."""
    connection.sendall(head("POST", "/images/load", "Expect: 100-continue", "Content-Length: 9"))
    assert statuses(connection.recv(1 << 16)) == ["100"]


def answer(connection: socket.socket) -> int:
    """Read the next answer on a connection that is kept; its status."""
    with HTTPResponse(connection) as response:
        response.begin()
        response.read()
        return response.status


def test_a_request_may_come_in_any_pieces(served: Served) -> None:
    request = head("GET", "/_ping") + PING
    assert statuses(served.exchange(*(request[at : at + 1] for at in range(len(request))))) == ["200", "200"]
    for at in range(1, len(PING)):
        assert statuses(served.exchange(PING[:at], PING[at:])) == ["200"]


def test_no_header_moves_a_request_to_another_path(served: Served) -> None:
    assert statuses(served.exchange(head("GET", "/elsewhere/_ping", "SCRIPT_NAME: /elsewhere", CLOSE))) == ["404"]
    assert statuses(served.exchange(head("GET", "/elsewhere", "PATH_INFO: /_ping", CLOSE))) == ["404"]


def test_requests_behind_a_body_are_answered_in_order(served: Served) -> None:
    form = head("POST", "/images/prune", FORM, "Content-Length: 9") + b"filters=x"
    request = form + head("GET", "/_ping") + head("GET", "/nope") + form + PING
    for cut in (len(request), 10, len(form), len(form) + 10):
        assert statuses(served.exchange(request[:cut], request[cut:])) == ["400", "200", "404", "400", "200"]


def test_a_client_may_close_its_side_behind_its_request(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(head("GET", "/_ping"))
        connection.shutdown(socket.SHUT_WR)
        assert statuses(rest(connection)) == ["200"]


def test_a_client_that_leaves_within_a_head_is_gone(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(PING[:20])
        connection.shutdown(socket.SHUT_WR)
        assert rest(connection) == b""


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        pytest.param([b"GET /" + b"a" * (1 << 20)], 414, id="long request line without an end"),
        pytest.param([b"GET / HTTP/1.1\r\n"] + [b"a" * (1 << 20)] * 7, 431, id="fields without an end"),
        pytest.param([b"GET / HTTP/1.1\r\nHost: x", b"\n"], 400, id="bare LF"),
        pytest.param([b"GET /\r\n"], 400, id="no version"),
    ],
)
def test_a_wrong_head_is_refused_before_its_end(served: Served, pieces: list[bytes], status: int) -> None:
    assert parse(served.exchange(*pieces))[0] == status


@pytest.mark.parametrize("over", [1, 20, 4096])
def test_fields_just_beyond_the_limit_are_refused_at_once(served: Served, over: int) -> None:
    """gunicorn asks for more before it looks how much there is."""
    most = served.worker.cfg.limit_request_fields * (served.worker.cfg.limit_request_field_size + 2) + 4
    fields = (b"A: " + b"x" * 60_000 + b"\r\n") * (most // 60_000 + 1)
    assert statuses(served.exchange(b"GET /_ping HTTP/1.1\r\n" + fields[: most + over])) == ["431"]


def test_a_request_line_just_beyond_the_limit_behind_an_empty_line_is_refused_at_once(served: Served) -> None:
    limit = served.worker.cfg.limit_request_line
    assert statuses(served.exchange(b"\r\nGET /".ljust(limit + 5, b"a"))) == ["414"]


def test_refusals_that_nobody_reads_hold_their_threads_for_a_time_only(
    served: Served, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.2)
    for _ in range(6):
        reader = held.enter_context(served.over_unix())
        reader.sendall(head("GET", "//" + "a" * 1_000_000))  # its redirect does not fit in the socket
    assert statuses(served.exchange(head("GET", "/images/get?names=none", CLOSE))) == ["404"]


def test_refused_uploads_hold_no_threads(served: Served, held: ExitStack) -> None:
    for _ in range(30):
        refused = held.enter_context(served.over_unix())
        refused.sendall(head("POST", "/nope", "Content-Length: 100000"))
        assert answer(refused) == 404
    assert statuses(served.exchange(head("GET", "/images/get?names=none", CLOSE))) == ["404"]


def test_strangers_take_only_threads_of_quick_requests(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_is_loopback", lambda _: False)
    kinds: list[Kind] = []
    monkeypatch.setattr(served.worker._seats, "leave", kinds.append)
    request = head("POST", "/images/load", "Content-Length: 0") + head("POST", "/images/load", "Content-Length: 1000")
    assert statuses(served.exchange(request, family=socket.AF_INET)) == ["403", "403"]
    assert set(kinds) == {Kind(Pace.QUICK, local=False)}
    assert statuses(served.exchange(head("POST", "/images/load", CLOSE, "Content-Length: 0"))) == ["200"]
    assert kinds[-1] == Kind(Pace.SLOW, local=True)


def test_a_connection_is_kept_though_its_body_is_not_read(served: Served) -> None:
    with served.connect() as connection:
        for _ in range(3):
            connection.sendall(head("POST", "/nope", "Content-Length: 9") + b"x" * 9)
            assert answer(connection) == 404
        connection.sendall(PING)
        assert answer(connection) == 200


def test_a_connection_whose_body_does_not_come_with_its_head_is_closed(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(head("POST", "/nope", "Content-Length: 9"))
        assert answer(connection) == 404
        assert rest(connection) == b""
        connection.sendall(b"x" * 9)


@pytest.mark.parametrize("size", [1, 1 << 16, 1 << 20, 4 << 20])
def test_the_answer_to_a_refused_upload_arrives(served: Served, size: int) -> None:
    form = head("POST", "/nope", f"Content-Length: {size}") + b"x" * size
    assert statuses(served.exchange(form + PING)) in (["404"], ["404", "200"])


def test_a_head_must_be_whole_in_time_however_it_drips(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with serving(app, tmp_path) as served, served.connect() as silent, served.connect() as dripping, served.over_unix() as again:
        again.sendall(head("GET", "/_ping") + b"GET")
        while not select.select([dripping], [], [], 0.05)[0]:
            dripping.sendall(b"a")
        assert rest(silent) == b""
        assert statuses(rest(again)) == ["200"]


def test_a_stopping_worker_waits_a_little_for_clients_without_a_request(
    served: Served, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_KEEPALIVE_LINGER", 0.2)
    idle, begun, upload_ = (held.enter_context(served.over_unix()) for _ in range(3))
    begun.sendall(PING[:20])
    idle.sendall(head("GET", "/_ping"))
    assert statuses(idle.recv(1 << 16)) == ["200"]
    upload(upload_)
    served.worker.alive = False
    assert [rest(idle), rest(begun)] == [b"", b""]
    upload_.sendall(b"x" * 9)
    assert statuses(rest(upload_)) == ["200"]
    upload_.close()
    served.stop()


def crowded(app: Flask, folder: Path, held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Served:
    """A worker that has four connections at each door."""
    monkeypatch.setattr(Server, "load_config", limit(Server.load_config, 4))
    return held.enter_context(serving(app, folder, STOWAGE_THREADS="8"))


def limit(load: object, count: int) -> object:
    def load_config(self: Server) -> None:
        load(self)  # type: ignore[operator]
        self.cfg.set("worker_connections", count)

    return load_config


def test_the_oldest_without_a_request_makes_way_and_only_at_its_own_door(
    app: Flask, tmp_path: Path, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = crowded(app, tmp_path, held, monkeypatch)
    idle = held.enter_context(served.connect())
    idle.sendall(head("GET", "/_ping"))
    assert statuses(idle.recv(1 << 16)) == ["200"]
    local = held.enter_context(served.over_unix())
    local.sendall(PING[:20])
    silent = [held.enter_context(served.connect()) for _ in range(10)]
    assert [rest(connection) for connection in silent[:7]] == [b""] * 7
    for connection, request in ((local, PING[20:]), (silent[-1], PING), (idle, PING)):
        connection.sendall(request)
        assert statuses(rest(connection)) == ["200"]


def test_where_all_are_at_work_a_door_is_closed_until_one_is_done(
    app: Flask, tmp_path: Path, held: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = crowded(app, tmp_path, held, monkeypatch)
    working = [held.enter_context(served.connect()) for _ in range(4)]
    for connection in working:
        upload(connection)
    waiting = held.enter_context(served.connect())
    waiting.sendall(PING)
    assert statuses(served.exchange(PING)) == ["200"]
    assert select.select([waiting], [], [], 0)[0] == []
    working[0].close()
    assert statuses(rest(waiting)) == ["200"]


def test_of_too_much_in_heads_the_largest_goes(served: Served, held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_HEAD_BYTES", 1 << 20)
    small = [held.enter_context(served.connect()) for _ in range(10)]
    for connection in small:
        connection.sendall(PING[:-1])
    for _ in range(3):
        assert served.exchange(head("GET", "/_ping?" + "a" * 1_000_000)[:-2] + b"X: " + b"a" * 100_000, family=socket.AF_INET) == b""
    for connection in small:
        connection.sendall(PING[-1:])
        assert statuses(rest(connection)) == ["200"]


def test_a_request_that_waits_for_a_thread_counts_with_its_head(served: Served, held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_HEAD_BYTES", 1 << 20)
    for _ in range(4):
        upload(held.enter_context(served.over_unix()))
    waiting = held.enter_context(served.over_unix())
    waiting.sendall(head("GET", "/images/get?names=" + "a" * 1_000_000))
    larger = held.enter_context(served.over_unix())
    larger.sendall(head("GET", "/images/get?names=" + "a" * 500_000))
    assert rest(waiting) == b""
    assert statuses(served.exchange(PING)) == ["200"]


@pytest.mark.parametrize(
    ("code", "survives"), [(errno.EMFILE, True), (errno.ENFILE, True), (errno.EINVAL, False), (errno.ECONNABORTED, True)]
)
def test_a_worker_without_a_free_descriptor_goes_on(served: Served, code: int, survives: bool) -> None:
    def refuse() -> None:
        raise OSError(code, os.strerror(code))

    assert statuses(served.exchange(PING)) == ["200"]
    listener = SimpleNamespace(family=socket.AF_INET, accept=refuse)
    if survives:
        served.worker.accept(listener)
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            served.worker.accept(listener)


def test_a_silent_connection_gives_its_descriptor(served: Served, held: ExitStack) -> None:
    silent = held.enter_context(served.connect())
    assert statuses(served.exchange(PING, family=socket.AF_INET)) == ["200"]
    for _ in range(2):  # the connection of the ping may still be there
        served.worker.method_queue.defer(served.worker._free_descriptor)
    assert rest(silent) == b""


def test_what_goes_wrong_unexpectedly_costs_its_connection_alone(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(served.worker, "_admit", None)
        assert served.exchange(PING) == b""
    assert statuses(served.exchange(PING)) == ["200"]


@pytest.fixture
def secured(app: Flask, tmp_path: Path) -> Iterator[Served]:
    files = {f"STOWAGE_TLS_{name}": str(CERTIFICATE) for name in ("CERT", "KEY", "CA")}
    with serving(app, tmp_path, **files) as running:
        yield running


class Cut:
    """A TLS client whose bytes are sent in pieces of one size."""

    def __init__(self, connection: socket.socket, size: int) -> None:
        context = ssl.create_default_context(cafile=str(CERTIFICATE))
        context.check_hostname = False
        context.load_cert_chain(CERTIFICATE)
        self._connection, self._size = connection, size
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing)

    def exchange(self, request: bytes) -> bytes:
        self._until(self._tls.do_handshake)
        self._tls.write(request)
        answer = b""
        while piece := self._until(lambda: self._tls.read(1 << 16)):
            answer += piece
        return answer

    def _until(self, act: object) -> bytes:
        while True:
            try:
                done: bytes = act()  # type: ignore[operator]
            except ssl.SSLWantReadError:
                self._send()
                received = self._connection.recv(1 << 16)
                if not received:
                    return b""
                self._incoming.write(received)
            else:
                self._send()
                return done

    def _send(self) -> None:
        content = self._outgoing.read()
        for at in range(0, len(content), self._size):
            self._connection.sendall(content[at : at + self._size])


@pytest.mark.parametrize("size", [7, 1 << 20])
def test_tls_may_come_in_any_pieces(secured: Served, size: int) -> None:
    form = head("POST", "/images/prune", FORM, "Content-Length: 9") + b"filters=x"
    with secured.connect() as connection:
        request = head("GET", "/_ping", "X: " + "a" * 40_000) + form + head("GET", "/openapi.json") * 2 + PING
        assert statuses(Cut(connection, size).exchange(request)) == ["200", "400", *["200"] * 3]


@pytest.mark.parametrize(
    "begin",
    [
        pytest.param(PING[:20], id="head"),
        pytest.param(head("POST", "/images/load", "Content-Length: 9"), id="body"),
        pytest.param(head("POST", "/nope", "Content-Length: 9"), id="refused body"),
    ],
)
def test_a_flood_of_key_updates_ends_its_connection_alone(
    secured: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, begin: bytes
) -> None:
    monkeypatch.setattr(worker, "_DRAIN_BYTES", 1 << 16)
    with KeyUpdates(secured.connect(), CERTIFICATE, CERTIFICATE) as client:
        assert client.shake()
        assert client.send(begin)
        assert any(not client.update() for _ in range(100_000))
    with secured.connect() as connection:
        assert statuses(Cut(connection, 1 << 20).exchange(PING)) == ["200"]
    assert "Traceback" not in caplog.text


def test_what_is_no_tls_is_closed_and_reported(secured: Served, caplog: pytest.LogCaptureFixture) -> None:
    assert b"HTTP" not in secured.exchange(PING, family=socket.AF_INET)
    assert "Invalid request from ip=127.0.0.1" in caplog.text
    assert statuses(secured.exchange(PING)) == ["200"]


def test_a_handshake_must_end_in_time(app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    files = {f"STOWAGE_TLS_{name}": str(CERTIFICATE) for name in ("CERT", "KEY", "CA")}
    with serving(app, tmp_path, **files) as served, served.connect() as connection:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
        assert rest(connection) == b""


def test_handshakes_that_do_not_go_on_make_way_for_others(secured: Served, held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_HEAD_BYTES", 1 << 18)
    begun = [held.enter_context(secured.connect()) for _ in range(8)]
    for connection in begun:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")
    staying = list(begun)
    while len(staying) > 4:
        gone = select.select(staying, [], [], PATIENCE)[0]
        assert gone
        assert {rest(connection) for connection in gone} == {b""}
        staying = [connection for connection in staying if connection not in gone]
    with secured.connect() as connection:
        assert statuses(Cut(connection, 1 << 20).exchange(PING)) == ["200"]


def test_a_client_that_resets_its_connection_is_gone_quietly(secured: Served, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        with secured.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.sendall(b"\x16\x03\x01")
    secured.stop()
    assert (caplog.text, secured.worker.nr_conns) == ("", 0)
