"""Answers that clients of a real service do not read, or read slowly: what they cost, and whom they hold up."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.builders import Layout, make_layer
from tests.conformance.conftest import Service
from tests.conformance.test_edges import CLOSE, head, parse
from tests.conformance.test_load_costs import MIB, connect, memory, until
from tests.ports import free_port
from tests.resources import nameless_files

LABEL = "x" * 3_900_000
INSPECT = head("GET", "/images/heavy:1/json", CLOSE)
MANY = 50


@pytest.fixture
def heavy(tmp_path: Path) -> Iterator[Service]:
    """A service of one worker, with an image whose config has 3.9 MB."""
    service = Service(tmp_path / "stowage", free_port(), {"STOWAGE_WORKERS": "1"})
    service.start()
    layout = Layout()
    layout.tag(layout.image([make_layer("heavy")], config={"Labels": {"long": LABEL}}), "docker.io/library/heavy:1")
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)) as client:
        client.request("POST", "/images/load", layout.to_tar())
        assert b"Loaded image: heavy:1" in client.getresponse().read()
    yield service
    service.stop()


def spooled(service: Service) -> list[int]:
    """The sizes of the stored answers."""
    assert service.process is not None
    workers = Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()
    return [size for pid in workers for size in nameless_files(service.root, pid)]


def whole(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def label(answer: bytes) -> str:
    labels: dict[str, str] = json.loads(parse(answer)[2])["Config"]["Labels"]
    return labels["long"]


def test_unread_answers_take_the_disk_and_hardly_any_memory(heavy: Service) -> None:
    with ExitStack() as held:
        first = held.enter_context(closing(connect(heavy)))
        first.sendall(INSPECT)
        assert label(whole(first)) == LABEL
        before = memory(heavy)
        readers = [held.enter_context(closing(connect(heavy))) for _ in range(MANY)]
        for reader in readers:
            reader.sendall(INSPECT)
        until(lambda: heavy.log.read_bytes().count(b"path=/images/heavy:1/json") == MANY + 1)
        until(lambda: len(spooled(heavy)) == MANY)
        ping = held.enter_context(closing(connect(heavy)))
        ping.sendall(head("GET", "/_ping", CLOSE))
        assert parse(whole(ping))[2] == b"OK"
        until(lambda: memory(heavy) < before + 64 * MIB)
        for reader in readers:
            assert label(whole(reader)) == LABEL
        until(lambda: not spooled(heavy))
