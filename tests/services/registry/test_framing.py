"""What a server may send around an answer: informational answers before it and trailers after it, a few of each."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import urllib3
from urllib3.exceptions import HTTPError

from stowage.services.registry.connections import Pool
from stowage.services.registry.gohttp import reason

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
TRAILER = b"X-Checksum: 1\r\n"
MANY = 1 << 20


@contextmanager
def server(first: bytes, then: bytes = b"") -> Iterator[tuple[str, list[int]]]:
    """Answers one request with `first`, and then with the other bytes until the client leaves; counts the bytes sent."""
    sent: list[int] = []

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(first)
            try:
                while then and sum(sent) < 64 * MANY:
                    sent.append(connection.send(then))
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", sent
        answering.join(30)
        assert not answering.is_alive()


def ask(url: str) -> bytes:
    """The body of an answer; its connection is closed in the end."""
    parts = urllib3.util.parse_url(url)
    with Pool(parts.host or "", parts.port) as pool:
        response = pool.urlopen("GET", "/", retries=False, preload_content=False, decode_content=False, timeout=30)
        try:
            return b"".join(iter(lambda: response.read1(100), b""))
        finally:
            response.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(CONTINUE * 5 + ANSWER, id="five continues"),
        pytest.param(EARLY_HINTS + CONTINUE + EARLY_HINTS + ANSWER, id="early hints"),
        pytest.param(CHUNKED + TRAILER * 50 + b"\r\n", id="trailers"),
        pytest.param(CHUNKED, id="no end of trailers"),
    ],
)
def test_a_few_are_skipped(answer: bytes) -> None:
    with server(answer) as (url, _):
        assert ask(url) == b"ok"


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        pytest.param(CONTINUE, CONTINUE, "net/http: too many 1xx informational responses", id="continues"),
        pytest.param(EARLY_HINTS, EARLY_HINTS, "net/http: too many 1xx informational responses", id="early hints"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", TRAILER, "got more than 100 headers", id="headers"),
        pytest.param(CHUNKED, TRAILER, "got more than 100 headers", id="trailers"),
    ],
)
def test_too_many_end_the_answer_at_once(first: bytes, then: bytes, words: str) -> None:
    with server(first, then * 1000) as (url, sent):
        with pytest.raises(HTTPError) as raised:
            ask(url)
        assert reason(raised.value, url) == words
    assert sum(sent) < 64 * MANY
