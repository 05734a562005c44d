"""What a registry or the way to it says becomes an error in Docker's words, however odd it is."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from urllib3 import HTTPResponse

from services.errors import EngineError, Forbidden, RegistryFailure
from services.registry.errors import in_words, unexpected_status
from services.registry.hosts import Hosts
from services.registry.transport import Transport
from tests.fake_registry.server import CERTIFICATE

URL = "https://registry.example/v2/app/manifests/1"


def refused(status: int, body: bytes, *, retry_after: str = "") -> EngineError:
    response = HTTPResponse(status=status, headers={"Retry-After": retry_after}, request_url=URL)
    return unexpected_status("HEAD", response, body)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"errors":[{"code":"DENIED","message":"\\ud800 bad"}]}', "error from registry: \ufffd bad", id="lone surrogate"),
        pytest.param(b'{"errors":[{"code":"DENIED","message":"bad","detail":"\\udfff"}]}', "error from registry: bad - \ufffd", id="detail"),
        pytest.param(b'{"errors":[{"code":"DENIED","message":"\xff"}]}', "error from registry: \ufffd", id="no UTF-8"),
        pytest.param(b'{"details":"\\ud800"}', "requested access to the resource is denied - \ufffd", id="older form"),
    ],
)
def test_words_that_are_no_text_are_told_as_far_as_they_are(body: bytes, words: str) -> None:
    error = refused(403, body)
    assert (type(error), str(error)) == (Forbidden, words)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'{"errors":' + b"9" * 5000 + b"}"])
def test_a_refusal_without_words_is_unknown(body: bytes) -> None:
    assert str(refused(403, body)) == f"unknown: unexpected status from HEAD request to {URL}: 403 Forbidden"


def test_what_was_done_stands_between_unknown_and_the_status() -> None:
    error = in_words(in_words(refused(500, b""), "failed to authorize"), "failed to resolve")
    assert str(error).startswith("unknown: failed to resolve: failed to authorize: unexpected status from ")


def test_the_registrys_own_words_stand_alone() -> None:
    error = refused(400, b'{"errors":[{"code":"OTHER","message":"why not"}]}')
    assert str(in_words(error, "failed to resolve")) == "error from registry: why not"


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", 7),
        ("Mon, 01 Jan 99999999999999 00:00:00 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0),
        ("soon", 0),
        ("\xb2", 0),
    ],
)
def test_a_retry_after_that_says_nothing_asks_for_no_time(retry_after: str, seconds: float) -> None:
    assert refused(503, b"", retry_after=retry_after).retry_after == seconds


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
    with serving_once(answer) as url, pytest.raises(RegistryFailure) as raised:
        Transport(Hosts(insecure=("127.0.0.0/8",))).send("GET", url, {}, insecure=True)
    assert str(raised.value) == f'failed to do request: Get "{url}": {words}'
    assert raised.value.retry_after is None
