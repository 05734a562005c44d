"""An import from a URL whose answer breaks off, or is none: told in Docker's words, without any of Python's."""

from __future__ import annotations

import dataclasses
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, RegistryFailure
from stowage.services.images.import_ import import_url
from stowage.services.progress import Progress
from tests.builders import make_layer
from tests.engines import downloads

CUT = make_layer(size=20_000)[:5000]
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@contextmanager
def one_answer(answer: bytes, *, pausing: bool = False) -> Iterator[str]:
    """A server that gives the first who asks these bytes and closes, when no longer used if it pauses; gives its URL."""
    used = Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
            if pausing:
                used.wait()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/x.tar"
        finally:
            used.set()
        thread.join()


def fetch(engine: Engine, url: str) -> list[Progress]:
    return list(import_url(dataclasses.replace(engine, imports=downloads("127.0.0.0/8")), url, message=""))


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 30720\r\n\r\n" + CUT, id="fewer bytes than its length"),
        pytest.param(CHUNKED + b"7800\r\n" + CUT, id="chunk cut short"),
        pytest.param(CHUNKED + b"zz\r\n" + CUT, id="chunk without a length"),
    ],
)
def test_a_download_that_breaks_off_is_an_unexpected_end(engine: Engine, answer: bytes) -> None:
    with one_answer(answer) as url, pytest.raises(InvalidContent, match="^unexpected EOF$"):
        fetch(engine, url)
    assert dict(engine.content.blobs()) == {}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(b"", "EOF", id="nothing"),
        pytest.param(b"garbage\r\n\r\n", "net/http: HTTP/1.x transport connection broken: malformed HTTP response", id="no HTTP"),
    ],
)
def test_what_is_no_answer_is_told_as_go_tells_it(engine: Engine, answer: bytes, words: str) -> None:
    with one_answer(answer) as url, pytest.raises(RegistryFailure) as caught:
        fetch(engine, url)
    assert str(caught.value) == f'Get "{url}": {words}'


def test_a_cancelled_download_without_a_length_does_not_end_its_archive(engine: Engine) -> None:
    with one_answer(b"HTTP/1.1 200 OK\r\n\r\n", pausing=True) as url:
        progress = import_url(dataclasses.replace(engine, imports=downloads("127.0.0.0/8")), url, message="")
        while next(progress).status != "Importing":
            pass
        progress.close()
    assert dict(engine.content.blobs()) == {}


def test_a_chunk_of_a_negative_length_gives_no_bytes_at_all() -> None:
    with (
        one_answer(CHUNKED + b"-1\r\n" + CUT, pausing=True) as url,
        downloads("127.0.0.0/8").open(url) as download,
        pytest.raises(InvalidContent, match="^unexpected EOF$"),
    ):
        download.read(10)
