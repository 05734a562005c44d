"""What is being transferred, as every worker tells it, and ending it."""

from __future__ import annotations

import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Layout, make_tar
from tests.conformance.conftest import Service, needs
from tests.fake_registry import FakeRegistry
from tests.ports import free_port
from tests.resources import sockets_of
from tests.waiting import poll

RATE = 1 << 20
SIZE = 32 << 20
ENDED = "was ended by an administrator"


@pytest.fixture
def service(tmp_path: Path, new_store: Callable[[], dict[str, str]]) -> Iterator[Service]:
    """A service whose page may write."""
    running = Service(tmp_path / "stowage", free_port(), {"STOWAGE_UI": "write", **new_store()})
    running.start()
    yield running
    running.stop()


class Slow:
    """A registry that sends the one large layer of an image slowly."""

    def __init__(self, registry: FakeRegistry) -> None:
        needs("docker")
        self.registry = registry
        layout = Layout()
        image = layout.image([make_tar({"data": random.Random(1).randbytes(SIZE)})], compression="none")
        self.manifest = json.loads(layout.blobs[image["digest"]])
        self.layer = self.manifest["layers"][0]
        self.name = registry.publish(layout, image) + ":1"
        registry.rates[self.layer["digest"]] = RATE

    @property
    def size(self) -> int:
        """Bytes of the blobs that a pull fetches."""
        return sum(int(blob["size"]) for blob in [self.manifest["config"], *self.manifest["layers"]])


@pytest.fixture
def slow(registry_that_fails: FakeRegistry) -> Slow:
    return Slow(registry_that_fails)


@pytest.fixture
def registry_that_fails() -> Iterator[FakeRegistry]:
    with FakeRegistry().serve() as running:
        yield running


@contextmanager
def docker(service: Service, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A running docker CLI."""
    environment = {**os.environ, "DOCKER_HOST": f"unix://{service.socket}", "DOCKER_CONFIG": str(service.root.parent / "docker-config")}
    with subprocess.Popen(["docker", *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def workers(service: Service) -> list[int]:
    assert service.process is not None
    return [int(pid) for pid in Path(f"/proc/{service.process.pid}/task/{service.process.pid}/children").read_text().split()]


class Asker:
    """A connection to one worker."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection

    def __call__(self, method: str = "GET", path: str = "/stowage/transfers") -> tuple[int, Any]:
        self._connection.request(method, path)
        answer = self._connection.getresponse()
        body = answer.read()
        return answer.status, json.loads(body) if body else None

    def transfers(self) -> list[dict[str, Any]]:
        status, found = self()
        assert status == 200
        return list(found)


@contextmanager
def askers(service: Service) -> Iterator[dict[int, Asker]]:
    """A connection to each worker, by the worker's process id."""
    with ExitStack() as stack:
        found: dict[int, Asker] = {}

        def connect() -> bool:
            connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)))
            Asker(connection)()
            assert connection.sock is not None
            found.setdefault(_server_of(service, connection.sock), Asker(connection))
            return len(found) == len(workers(service))

        poll(connect)
        yield found


def _server_of(service: Service, client: socket.socket) -> int:
    """The worker at the other end of a connection."""
    here, there = client.getsockname()[1], client.getpeername()[1]
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    established = [line for line in lines if line[3] == "01"]
    # The kernel may list a connection twice while the table changes.
    [inode] = {line[9] for line in established if line[1].endswith(f":{there:04X}") and line[2].endswith(f":{here:04X}")}
    [pid] = [pid for pid in workers(service) if inode in sockets_of(pid)]
    return pid


def test_a_pull_is_seen_in_every_worker_with_plausible_figures(service: Service, slow: Slow) -> None:
    with askers(service) as asked, docker(service, "pull", slow.name):
        poll(lambda: all(each.transfers() and each.transfers()[0]["Done"] > 4 * RATE for each in asked.values()))
        for each in asked.values():
            [pull] = each.transfers()
            assert (pull["Operation"], pull["Images"], pull["ImageCount"]) == ("pull", [slow.name], 1)
            assert pull["Registry"] == slow.registry.host
            assert pull["Client"].startswith("Docker-Client/")
            assert (pull["Total"], pull["Ending"]) == (slow.size, False)
            assert RATE / 3 < pull["Rate"] < RATE * 2
            assert pull["Left"] == pytest.approx((pull["Total"] - pull["Done"]) / pull["Rate"], abs=1)
            [part] = pull["Parts"]
            assert (part["Id"], part["Total"]) == (slow.layer["digest"][7:19], slow.layer["size"])
    with askers(service) as asked:
        poll(lambda: not any(each.transfers() for each in asked.values()))


def test_a_pull_is_ended_by_any_worker_and_continued_by_the_next_pull(service: Service, slow: Slow) -> None:
    with askers(service) as asked:
        for each in asked.values():  # one of them runs the pull, and the other does not
            with docker(service, "pull", slow.name) as pulling:
                poll(lambda: all(other.transfers() and other.transfers()[0]["Done"] > RATE // 2 for other in asked.values()))
                [pull] = each.transfers()
                assert each("DELETE", f"/stowage/transfers/{pull['Id']}") == (202, None)
                assert f"this pull {ENDED}" in pulling.communicate(timeout=30)[1]
                assert pulling.returncode == 1
            poll(lambda: not any(other.transfers() for other in asked.values()))
            assert each("DELETE", f"/stowage/transfers/{pull['Id']}")[0] == 404
    slow.registry.rates.clear()
    service.docker("pull", slow.name)
    assert any("Range" in request.headers for request in slow.registry.requests)
    assert "outcome=ended" in service.log.read_text()
    assert " ERROR " not in service.log.read_text()


def test_a_load_whose_client_has_stopped_is_told_that_it_was_ended(service: Service) -> None:
    archive = _archive()
    with socket.socket(socket.AF_UNIX) as loading, askers(service) as asked:
        loading.settimeout(30)
        loading.connect(str(service.socket))
        head = f"POST /images/load HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Length: {len(archive)}\r\n\r\n"
        loading.sendall(head.encode() + archive[: len(archive) // 2])
        each = next(iter(asked.values()))
        poll(lambda: each.transfers() and each.transfers()[0]["Done"] > len(archive) // 2 - (1 << 20))
        [load] = each.transfers()
        assert (load["Operation"], load["Total"]) == ("load", len(archive))
        each("DELETE", f"/stowage/transfers/{load['Id']}")
        answer = b"".join(iter(lambda: loading.recv(1 << 16), b""))
    assert f"this load {ENDED}".encode() in answer
    assert [path for path in (service.root / "ingest").glob("*/data") if path.stat().st_size] == []


def test_a_save_whose_client_takes_nothing_is_cut(service: Service) -> None:
    service.docker("load", stdin=_archive())
    with socket.socket(socket.AF_UNIX) as saving, askers(service) as asked:
        saving.settimeout(30)
        saving.connect(str(service.socket))
        saving.sendall(b"GET /images/large:1/get HTTP/1.1\r\nHost: docker\r\n\r\n")
        each = next(iter(asked.values()))
        poll(lambda: [transfer["Operation"] for transfer in each.transfers() if transfer["Total"] and transfer["Done"]] == ["save"])
        [save] = [transfer for transfer in each.transfers() if transfer["Operation"] == "save"]
        assert (save["Operation"], save["Images"]) == ("save", ["large:1"])
        assert SIZE <= save["Total"] <= SIZE + 10_000
        assert 0 < save["Done"] < save["Total"]
        each("DELETE", f"/stowage/transfers/{save['Id']}")
        poll(lambda: not each.transfers())
        assert len(b"".join(iter(lambda: saving.recv(1 << 20), b""))) < SIZE
    poll(lambda: "outcome=ended" in service.log.read_text())


def test_a_load_that_goes_on_sending_is_ended_for_the_docker_cli(service: Service, tmp_path: Path) -> None:
    """The CLI gets the error although it is in the middle of a large archive."""
    (tmp_path / "archive").write_bytes(_archive())
    sending = f"head -c {SIZE // 2} {tmp_path}/archive; while sleep 0.2; do head -c 100000 /dev/zero; done"
    with (
        askers(service) as asked,
        subprocess.Popen(["sh", "-c", sending], stdout=subprocess.PIPE, start_new_session=True) as source,
        subprocess.Popen(
            ["docker", "load"],
            env={**os.environ, "DOCKER_HOST": f"unix://{service.socket}"},
            stdin=source.stdout,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as loading,
    ):
        each = next(iter(asked.values()))
        poll(lambda: each.transfers() and each.transfers()[0]["Done"] > SIZE // 2 - (1 << 20))
        [load] = each.transfers()
        assert load["Total"] is None
        each("DELETE", f"/stowage/transfers/{load['Id']}")
        assert loading.stdout is not None
        assert f"this load {ENDED}" in loading.stdout.read()
        os.killpg(source.pid, signal.SIGKILL)


def test_what_a_killed_worker_transferred_is_gone_within_seconds(service: Service, slow: Slow) -> None:
    with docker(service, "pull", slow.name):
        with askers(service) as asked:
            poll(lambda: all(each.transfers() for each in asked.values()))
        before = workers(service)
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        poll(lambda: len(set(workers(service)) - set(before)) == len(before))
        with askers(service) as asked:
            poll(lambda: not any(each.transfers() for each in asked.values()))


def test_a_page_that_reads_ends_nothing(tmp_path: Path, slow: Slow) -> None:
    service = Service(tmp_path / "reading", free_port())
    service.start()
    with askers(service) as asked, docker(service, "pull", slow.name) as pulling:
        poll(lambda: all(each.transfers() for each in asked.values()))
        for each in asked.values():
            [pull] = each.transfers()
            status, answer = each("DELETE", f"/stowage/transfers/{pull['Id']}")
            assert (status, "STOWAGE_UI" in answer["message"]) == (403, True)
        assert pulling.poll() is None
    service.stop()


def test_the_totals_of_a_pull_in_a_docker_cli(service: Service, slow: Slow) -> None:
    """A terminal shows the line with a bar beside those of the layers, and its end stays. Without the header nothing is different."""
    slow.registry.rates[slow.layer["digest"]] = 8 * RATE
    assert "Total" not in service.docker("pull", slow.name).stdout.decode()
    service.docker("rmi", slow.name)
    config = service.root.parent / "docker-config" / "config.json"
    config.parent.mkdir(exist_ok=True)
    config.write_text(json.dumps({"HttpHeaders": {"X-Stowage-Totals": "1"}}))
    environment = {**os.environ, "DOCKER_HOST": f"unix://{service.socket}", "DOCKER_CONFIG": str(config.parent), "TERM": "xterm"}
    terminal = ["script", "--quiet", "--return", "--command", f"stty cols 150; docker pull {slow.name}", "/dev/null"]
    shown = subprocess.run(terminal, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.search(r"Total: [\d.]+MB/s, \d+s left \[=*> *\] +[\d.]+MB/33\.56MB", shown), shown
    assert re.search(r"Total: 33\.56MB in \d+s, [\d.]+MB/s", shown)
    service.docker("rmi", slow.name)
    assert re.search(r"^Total: 33\.56MB in \d+s", service.docker("pull", slow.name).stdout.decode(), re.MULTILINE)


def _archive() -> bytes:
    layout = Layout()
    layout.tag(layout.image([make_tar({"data": random.Random(1).randbytes(SIZE)})], compression="none"), "docker.io/library/large:1")
    return layout.to_tar()
