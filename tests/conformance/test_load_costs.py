"""What loads cost a real service that somebody means harm: windows held open, thousands of tiny blobs, and clients that do not wait."""

from __future__ import annotations

import fcntl
import http.client
import json
import lzma
import random
import socket
import struct
import termios
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.builders import ArchivedImage, Layout, docker_archive, make_layer, make_tar, simple_layout
from tests.conformance.conftest import START_SECONDS, Service
from tests.ports import free_port

MIB = 1 << 20
MEMORY = 192 * MIB
HEAD = b"POST /images/load HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-tar\r\n"


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[Service]:
    """A service of one worker, with memory for one decoder of the largest kind, also over TCP."""
    running = Service(tmp_path / "stowage", free_port(), {"STOWAGE_WORKERS": "1", "STOWAGE_REQUEST_MEMORY": str(MEMORY)})
    running.start()
    yield running
    running.stop()


def until(ready: object, seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not ready():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def connect(service: Service, kind: str = "unix") -> socket.socket:
    if kind == "tcp":
        return socket.create_connection(("127.0.0.1", service.port), timeout=20)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(service.socket))
    return connection


def unread(connection: socket.socket) -> int:
    """Bytes that the other end of a unix socket has not read yet."""
    return int(struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0])


def wide_stream() -> bytes:
    """The beginning of an archive that fills a window of 96 MiB: a member that is passed over, as much of it as the service
    reads at once.
    """
    content = make_header(120 * MIB) + bytes(110 * MIB) + random.Random(1).randbytes(2 * MIB)
    stored = bytearray(lzma.compress(content, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": MIB, "mode": lzma.MODE_FAST}]))
    length = 4 * (stored[12] + 1)
    dictionary = stored.index(b"\x21\x01", 12) + 2
    stored[dictionary] = 29  # 96 MiB
    stored[12 + length - 4 : 12 + length] = struct.pack("<I", zlib.crc32(stored[12 : 12 + length - 4]))
    return bytes(stored[: MIB + 10])


def make_header(size: int) -> bytes:
    """The header of a member of an unknown type."""
    fields = b"passed over".ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" % size + b"00000000000\0"
    rest = b"Z" + bytes(100) + b"ustar\x0000" + bytes(247)
    return fields + b"%06o\0 " % (sum(fields) + 8 * 32 + sum(rest)) + rest


def memory(service: Service) -> int:
    """What the processes of the service take, in bytes (PSS)."""
    assert service.process is not None
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            group = (process / "stat").read_text().rpartition(")")[2].split()[2]
            if int(group) == service.process.pid:
                total += (
                    int(next(line for line in (process / "smaps_rollup").read_text().splitlines() if line.startswith("Pss:")).split()[1])
                    << 10
                )
        except (OSError, StopIteration):
            continue
    return total


def test_windows_that_clients_hold_open_do_not_add_up(narrow: Service) -> None:
    stream, before = wide_stream(), memory(narrow)
    with ExitStack() as held:
        connections = [held.enter_context(closing(connect(narrow))) for _ in range(10)]
        for connection in connections:
            connection.sendall(HEAD + b"Content-Length: 100000000\r\n\r\n" + stream)
        until(lambda: not any(map(unread, connections)))
        until(lambda: memory(narrow) > before + 90 * MIB)
        peak = max(memory(narrow) for _ in range(40) if not time.sleep(0.05))  # type: ignore[func-returns-value]
    assert peak < before + MEMORY + 64 * MIB


def test_an_archive_of_a_thousand_tiny_blobs_is_loaded(service: Service) -> None:
    layout = simple_layout("docker.io/library/tiny:1")
    for number in range(1000):
        layout.add(b"%d" % number, "application/octet-stream")
    assert service.docker("load", stdin=layout.to_tar()).stdout == b"Loaded image: tiny:1\n"
    assert len(list((service.root / "blobs/sha256").iterdir())) == len(Layout().blobs) + 3
    assert list((service.root / "ingest").iterdir()) == []
    assert service.run("verify").returncode == 0


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_a_load_whose_client_leaves_after_the_upload_is_given_up(service: Service, kind: str) -> None:
    layer = make_layer("shared")
    archive = docker_archive(
        *(
            ArchivedImage((layer,), (f"many:{number}",), {"created": None, "history": None, "config": {"n": number}})
            for number in range(1500)
        )
    )
    with closing(connect(service, kind)) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(archive) + archive)
        if kind == "unix":
            until(lambda: not unread(connection))
    until(lambda: b"path=/images/load" in service.log.read_bytes())
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=20)) as client:
        client.request("GET", "/images/json")
        assert json.loads(client.getresponse().read()) == []
    assert list((service.root / "ingest").iterdir()) == []


def test_a_load_of_empty_members_is_given_up_when_its_client_leaves(service: Service) -> None:
    frames = b"\x28\xb5\x2f\xfd\x20\x00\x01\x00\x00" * (32 * MIB // 9)
    archive = zlib.compress(make_tar({"layer.tar": frames}), wbits=31)
    with closing(connect(service)) as connection:
        connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(archive) + archive)
        until(lambda: not unread(connection))
    until(lambda: b"path=/images/load" in service.log.read_bytes())
