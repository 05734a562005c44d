"""The server's side of TLS, and clients that send what honest ones do not."""

from __future__ import annotations

import hmac
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from stowage.app.server.tls import TlsSocket
from tests.fake_registry.server import CERTIFICATE
from tests.key_updates import KeyUpdates

PATIENCE = 10
MANY = 100_000
ALERT, HANDSHAKE, DATA = 21, 22, 23


def server_context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(CERTIFICATE))
    context.load_cert_chain(CERTIFICATE)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(CERTIFICATE))
    context.check_hostname = False
    context.load_cert_chain(CERTIFICATE)
    return context


@pytest.fixture
def ends(held: ExitStack) -> tuple[socket.socket, socket.socket]:
    """The server's and the client's end of a connection."""
    server, client = (held.enter_context(end) for end in socket.socketpair())
    for end in (server, client):
        end.settimeout(PATIENCE)
    return server, client


@pytest.fixture
def server(ends: tuple[socket.socket, socket.socket]) -> TlsSocket:
    return TlsSocket(ends[0], server_context())


@pytest.fixture
def client(ends: tuple[socket.socket, socket.socket], server: TlsSocket, held: ExitStack) -> ssl.SSLSocket:
    """A client after the handshake."""
    with beside(server.shake):
        return held.enter_context(client_context().wrap_socket(ends[1]))


@pytest.fixture
def updater(ends: tuple[socket.socket, socket.socket], server: TlsSocket, held: ExitStack) -> KeyUpdates:
    """A client after the handshake that can update its keys."""
    updater = held.enter_context(KeyUpdates(ends[1], CERTIFICATE, CERTIFICATE))
    with beside(server.shake):
        assert updater.shake()
    return updater


@contextmanager
def beside(function: Callable[[], object]) -> Iterator[None]:
    """Call the function in a thread meanwhile."""
    thread = threading.Thread(target=function)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def flooding(server: TlsSocket, send: Callable[[], object]) -> Iterator[None]:
    """Send again and again meanwhile. Afterwards the server's end is closed."""

    def flood() -> None:
        with suppress(OSError):
            for _ in range(MANY):
                send()

    with beside(flood):
        try:
            yield
        finally:
            server.close()


def receive_all(server: TlsSocket) -> bytes:
    return b"".join(iter(lambda: server.recv(1 << 20), b""))


@pytest.mark.parametrize("requested", [False, True])
def test_a_flood_of_key_updates_ends(server: TlsSocket, updater: KeyUpdates, requested: bool) -> None:
    with flooding(server, lambda: updater.update(requested=requested)), pytest.raises(ConnectionResetError, match="without data"):
        server.recv(1)


def test_a_little_data_between_key_updates_does_not_prolong_the_flood(server: TlsSocket, updater: KeyUpdates) -> None:
    with (
        flooding(server, lambda: updater.update() and updater.send(b"a")),
        pytest.raises(ConnectionResetError, match="without data"),
    ):
        receive_all(server)


@pytest.mark.parametrize("requested", [False, True])
def test_data_follows_an_honest_number_of_key_updates(server: TlsSocket, updater: KeyUpdates, requested: bool) -> None:
    for number in range(20):
        assert updater.update(requested=requested)
        assert updater.send(b"%d" % number)
        assert server.recv(100) == b"%d" % number
        server.sendall(b"answer")
        assert updater.recv(100) == b"answer"


def test_more_data_pays_for_more_key_updates(server: TlsSocket, updater: KeyUpdates) -> None:
    for _ in range(100):
        assert updater.update()
        for _ in range(1001):
            assert updater.send(b"a")
            assert server.recv(1) == b"a"


class Forger:
    """A TLS 1.2 client whose records are authenticated but not encrypted, so that it can send any."""

    def __init__(self, server: TlsSocket, connection: socket.socket, context: ssl.SSLContext, keys: Path) -> None:
        context.keylog_filename = str(keys)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = context.wrap_bio(incoming, outgoing)
        sent, received = b"", b""
        with beside(server.shake):
            while True:
                with suppress(ssl.SSLWantReadError):
                    client.do_handshake()
                    break
                content = outgoing.read()
                connection.sendall(content)
                sent += content
                incoming.write(content := connection.recv(1 << 16))
                received += content
        self.hello = sent[5 : 5 + int.from_bytes(sent[3:5], "big")]
        secret = bytes.fromhex(keys.read_text().split()[-1])
        self._key = _prf(secret, b"key expansion" + received[11:43] + sent[11:43])
        self._connection, self._sequence = connection, 1

    def send(self, kind: int, content: bytes) -> None:
        start, self._sequence = self._sequence.to_bytes(8, "big"), self._sequence + 1
        mac = hmac.digest(self._key, start + _head(kind, len(content)) + content, "sha1")
        self._connection.sendall(_head(kind, len(content + mac)) + content + mac)


def _head(kind: int, size: int) -> bytes:
    return bytes([kind, 3, 3]) + size.to_bytes(2, "big")


def _prf(secret: bytes, seed: bytes) -> bytes:
    """The first 20 bytes of the pseudorandom function of RFC 5246, section 5."""
    return hmac.digest(secret, hmac.digest(secret, seed, "sha256") + seed, "sha256")[:20]


@pytest.fixture
def forger(ends: tuple[socket.socket, socket.socket], tmp_path: Path) -> tuple[TlsSocket, Forger]:
    contexts = server_context(), client_context()
    for context in contexts:
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers("ECDHE-ECDSA-NULL-SHA:@SECLEVEL=0")
    server = TlsSocket(ends[0], contexts[0])
    return server, Forger(server, ends[1], contexts[1], tmp_path / "keys")


def test_what_the_forger_sends_is_authentic(forger: tuple[TlsSocket, Forger]) -> None:
    server, client = forger
    client.send(DATA, b"data")
    assert server.recv(100) == b"data"


@pytest.mark.parametrize("kind", ["empty", "warning", "renegotiation", "change of cipher"])
@pytest.mark.parametrize("data", [b"", b"a"])
def test_a_flood_of_other_records_without_data_ends(forger: tuple[TlsSocket, Forger], kind: str, data: bytes) -> None:
    server, client = forger
    record = {
        "empty": (DATA, b""),
        "warning": (ALERT, b"\1\x5a"),
        "renegotiation": (HANDSHAKE, client.hello),
        "change of cipher": (20, b"\1"),
    }[kind]

    def send() -> None:
        client.send(*record)
        if data:
            client.send(DATA, data)

    with flooding(server, send), pytest.raises(OSError, match=r"without data|SSL"):
        receive_all(server)


def test_data_may_come_in_any_pieces(server: TlsSocket, client: ssl.SSLSocket) -> None:
    content = os.urandom(100_000)
    received = b""
    with beside(lambda: client.sendall(content)):
        for size in (1, 7, 16_384, 20_000):
            received += server.recv(size)
            assert server.pending() == -len(received) % 16_384
        while len(received) < len(content):
            received += server.recv(1 << 20)
    assert received == content


def test_no_data_is_a_would_block_and_a_timeout(server: TlsSocket, client: ssl.SSLSocket) -> None:
    server.setblocking(False)
    with pytest.raises(BlockingIOError):
        server.recv(1)
    server.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.recv(1)
    client.sendall(b"data")
    assert server.recv(100) == b"data"


def test_a_record_that_drips_must_be_complete_in_time(server: TlsSocket, client: ssl.SSLSocket) -> None:
    given_up = threading.Event()

    def drip() -> None:
        os.write(client.fileno(), _head(DATA, 16_000))
        while not given_up.wait(0.01):
            os.write(client.fileno(), b"a")

    server.settimeout(0.2)
    with beside(drip):
        with pytest.raises(TimeoutError):
            server.recv(1)
        given_up.set()


@pytest.mark.parametrize("says_so", [True, False])
def test_the_end_of_a_stream_may_be_announced_or_not(server: TlsSocket, client: ssl.SSLSocket, says_so: bool) -> None:
    client.sendall(b"data")
    if says_so:
        client.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            client.unwrap()
    else:
        socket.socket.shutdown(client, socket.SHUT_WR)
    assert [server.recv(100) for _ in range(3)] == [b"data", b"", b""]


def test_what_a_slow_reader_does_not_accept_is_sent_later(server: TlsSocket, client: ssl.SSLSocket) -> None:
    content = os.urandom(4 << 20)
    server.setblocking(False)
    rest, received, blocked = memoryview(content), b"", 0
    while len(received) < len(content):
        try:
            while rest:
                rest = rest[server.send(rest) :]
        except BlockingIOError:
            blocked += 1
        received += client.recv(1 << 16)
    assert received == content
    assert blocked


def test_a_reader_that_takes_nothing_is_given_up(server: TlsSocket, client: ssl.SSLSocket) -> None:
    server.settimeout(0.01)
    with pytest.raises(TimeoutError):
        server.sendall(bytes(16 << 20))


def test_nothing_is_decrypted_after_shutdown(server: TlsSocket, client: ssl.SSLSocket) -> None:
    server.shutdown(socket.SHUT_WR)
    client.sendall(b"data")
    assert server.recv(100)[:3] == bytes([DATA, 3, 3])


def test_no_method_of_the_socket_below_evades_tls(server: TlsSocket) -> None:
    assert server.family == socket.AF_UNIX
    for name in ("sendfile", "sendmsg", "recv_into", "recvfrom", "makefile", "detach"):
        assert not hasattr(server, name)


def test_a_client_that_leaves_during_the_handshake_is_gone(ends: tuple[socket.socket, socket.socket], server: TlsSocket) -> None:
    ends[1].sendall(b"\x16\x03\x01\x02\x00\x01")
    ends[1].close()
    with pytest.raises(ConnectionResetError):
        server.shake()
