"""What goes wrong before an answer is told as Go's net/http tells it."""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import RemoteDisconnected

import pytest
from urllib3 import HTTPConnectionPool
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from stowage.services.errors import RegistryFailure
from stowage.services.registry.connections import HandshakeError
from stowage.services.registry.failure import Failed
from stowage.services.registry.gohttp import is_lasting, reason, status_line, url_error
from stowage.services.registry.hosts import Hosts
from stowage.services.registry.transport import Transport
from tests.fake_registry.server import CERTIFICATE


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def eof_in_tls() -> ssl.SSLEOFError:
    error = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol (_ssl.c:1006)")
    error.reason = "UNEXPECTED_EOF_WHILE_READING"
    return error


REFUSED = OSError(errno.ECONNREFUSED, "Connection refused")
RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
UNCONNECTED = caused(NewConnectionError(HTTPConnection("x"), "x"), REFUSED)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(UNCONNECTED, "dial tcp {host}: connect: connection refused", id="refused"),
        pytest.param(ConnectTimeoutError("x"), "dial tcp {host}: i/o timeout", id="nobody there"),
        pytest.param(
            NameResolutionError("x", HTTPConnection("x"), socket.gaierror(-2, "Name or service not known")),
            "dial tcp: lookup registry.example: no such host",
            id="no such host",
        ),
        pytest.param(
            ProxyError("x", UNCONNECTED), "proxyconnect tcp: dial tcp {host}: connect: connection refused", id="proxy that does not listen"
        ),
        pytest.param(
            ProxyError("x", OSError("Tunnel connection failed: 403 Forbidden")),
            "proxyconnect tcp: Tunnel connection failed: 403 Forbidden",
            id="proxy that refuses",
        ),
        pytest.param(caused(HandshakeError("x"), TimeoutError()), "net/http: TLS handshake timeout", id="slow handshake"),
        pytest.param(caused(HandshakeError("x"), RESET), "connection reset by peer", id="broken handshake"),
        pytest.param(caused(HandshakeError("x"), eof_in_tls()), "EOF", id="handshake that ends"),
        pytest.param(ReadTimeoutError(HTTPConnectionPool("x"), "x", "x"), "net/http: timeout awaiting response headers", id="silence"),
        pytest.param(caused(ProtocolError("x"), RemoteDisconnected("x")), "EOF", id="hung up"),
        pytest.param(caused(ProtocolError("x"), RESET), "connection reset by peer", id="reset"),
        pytest.param(ProtocolError("Connection broken"), "Connection broken", id="the library's own words"),
        pytest.param(RegistryFailure("stopped after 10 redirects"), "stopped after 10 redirects", id="a sentence"),
        pytest.param(caused(RegistryFailure("stopped"), RESET), "stopped", id="a sentence after an earlier request's failure"),
    ],
)
@pytest.mark.parametrize("port", [":5000", ""])
def test_why_there_is_no_answer_is_told_in_gos_words(error: Exception, words: str, port: str) -> None:
    told = url_error("HEAD", f"https://registry.example{port}/v2/x?signature=secret", error)
    assert told == f'Head "https://registry.example{port}/v2/x": {words.format(host="registry.example" + (port or ":443"))}'
    assert not is_lasting(error)


def test_a_url_that_cannot_be_asked_is_not_told_and_stays_so() -> None:
    error = LocationParseError("http://user:secret@x:99999/")
    assert (reason(error), is_lasting(error)) == ("no valid host in request URL", True)


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (599, "599")])
def test_a_status_is_printed_as_go_prints_it(status: int, words: str) -> None:
    assert status_line(status) == words


def answer_in_plain_http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")


def want_a_client_certificate(connection: socket.socket) -> None:
    context = server_context()
    context.load_verify_locations(CERTIFICATE)
    context.verify_mode = ssl.CERT_REQUIRED
    shake_hands(context, connection)


def speak_only_old_tls(connection: socket.socket) -> None:
    context = server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    shake_hands(context, connection)


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def shake_hands(context: ssl.SSLContext, connection: socket.socket) -> None:
    """Refuse the client, and hang up only after it did, so that it has read why."""
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(connection.dup(), server_side=True)
    while connection.recv(4096):
        pass


@contextmanager
def serving_once(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v2/"
        server.join(10)
        assert not server.is_alive()


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(answer_in_plain_http, "http: server gave HTTP response to HTTPS client", id="plain HTTP"),
        pytest.param(want_a_client_certificate, "remote error: tls: certificate required", id="no client certificate"),
        pytest.param(speak_only_old_tls, "remote error: tls: protocol version not supported", id="old TLS"),
    ],
)
def test_a_registry_without_tls_for_us_is_told_in_gos_words_and_not_asked_again(
    answer: Callable[[socket.socket], None], words: str
) -> None:
    with serving_once(answer) as url, pytest.raises(Failed) as raised:
        Transport(Hosts(insecure=("127.0.0.0/8",)), stall_seconds=60).send("GET", url, {}, insecure=True)
    failure = raised.value.failure
    assert isinstance(failure.reason, Exception)
    assert (failure.method, failure.url, reason(failure.reason), failure.retry_after) == ("GET", url, words, None)
