"""A node loses its network to PostgreSQL and the bucket: packets vanish in the middle of a pull, of a load and of changes."""

from __future__ import annotations

import os
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmarks.cluster import Node
from tests.builders import Layout, make_layer
from tests.conformance.conftest import needs
from tests.conformance.test_crash import archive
from tests.fake_registry import FakeRegistry
from tests.faulty_bucket import FaultyBucket
from tests.namespaces import NODE, SERVERS, Namespace, two_namespaces
from tests.ports import free_port
from tests.postgresql import running_cluster
from tests.seaweedfs import running_seaweed
from tests.services.gc.test_outage import layers
from tests.waiting import poll

DATABASE_SECONDS, CONTENT_SECONDS = 6, 5
RECOVERY_SECONDS = 60
OTHERS = 3
MESSAGES = (
    "the database is unreachable",
    "the database is busy",
    "the connection to the database was lost",
    "cannot be reached, or did not answer in time",
)


@dataclass
class Nodes:
    """A node that may lose its network, whose registry is in its own namespace, and another, beside the servers."""

    cut: Node
    other: Node
    network: Namespace
    registry: FakeRegistry


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    for program in ("docker", "ip", "iptables", "nsenter", "unshare"):
        needs(program)
    with ExitStack() as running:
        servers, network = running.enter_context(two_namespaces())
        running.enter_context(servers.entered())
        postgresql = running.enter_context(running_cluster(port=free_port(), listen_addresses=SERVERS))
        (postgresql.folder / "data/pg_hba.conf").write_text(f"local all all trust\nhost all all {NODE}/24 trust\n")
        postgresql.execute("SELECT pg_reload_conf()")
        postgresql.create_database("stowage")
        s3 = running.enter_context(running_seaweed())
        proxy = running.enter_context(FaultyBucket(s3, SERVERS).running())
        shared = {
            "STOWAGE_DATABASE_URL": f"postgresql://postgres@{SERVERS}:{postgresql.port}/stowage",
            "STOWAGE_DATABASE_TIMEOUT": str(DATABASE_SECONDS),
            "STOWAGE_CONTENT_URL": s3.url(s3.create_bucket()).replace(s3.endpoint, proxy.endpoint),
            "STOWAGE_CONTENT_TIMEOUT": str(CONTENT_SECONDS),
            "STOWAGE_WORKERS": "1",
            **s3.environ(),
        }
        other = start(tmp_path / "other", shared, running)
        with network.entered():
            registry = running.enter_context(FakeRegistry().serve())
            cut = start(tmp_path / "cut", shared, running)
        yield Nodes(cut, other, network, registry)


def start(root: Path, shared: dict[str, str], running: ExitStack) -> Node:
    node = Node(root, {**os.environ, **shared, "STOWAGE_ROOT": str(root), "STOWAGE_BIND": f"unix:{root}/stowage.sock"})
    running.callback(node.stop)
    node.start()
    node.wait()
    return node


def docker(node: Node, *arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[str]:
    environment = {**os.environ, "DOCKER_HOST": f"unix://{node.socket}", "DOCKER_CONFIG": "/nonexistent"}
    return subprocess.Popen(
        ["docker", *arguments], env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def said(process: subprocess.Popen[str]) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    return process.returncode, output


def succeed(node: Node, *arguments: str) -> str:
    status, output = said(docker(node, *arguments))
    assert status == 0, output
    return output


def load(node: Node, path: Path, name: str, number: int) -> None:
    path.write_bytes(archive(name, number, layer_bytes=3_000_000))
    succeed(node, "load", "--input", str(path))


class Load:
    """A load whose client has sent half of the archive."""

    def __init__(self, node: Node, content: bytes) -> None:
        reading, self._writing = os.pipe()
        self._rest = content[len(content) // 2 :]
        self.process = docker(node, "load", stdin=reading)
        os.close(reading)
        self._write(content[: len(content) // 2])

    def finish(self) -> None:
        """Send the rest from a thread: a service that has given up reads nothing more."""
        threading.Thread(target=self._finish, daemon=True).start()

    def _finish(self) -> None:
        try:
            self._write(self._rest)
        except BrokenPipeError:
            pass
        finally:
            os.close(self._writing)

    def _write(self, content: bytes) -> None:
        while content:
            content = content[os.write(self._writing, content) :]


def published(registry: FakeRegistry) -> tuple[str, Layout]:
    """An image whose second layer comes half until the registry resumes."""
    layout = Layout()
    layout.tag(layout.image([make_layer("first", 40_000), make_layer("second", 12_000_000)], compression="none"), "some:1")
    _, second = layers(layout)
    registry.pause_after[str(second)] = 10_000_000
    return registry.publish(layout, layout.manifests[0]), layout


def clear(output: str) -> bool:
    return any(message in output for message in MESSAGES)


def test_a_node_that_loses_its_network_says_so_holds_up_no_other_and_recovers(nodes: Nodes, tmp_path: Path) -> None:
    name, _ = published(nodes.registry)
    load(nodes.cut, tmp_path / "image.tar", "team/app:1", 1)
    content = archive("team/app:2", 2, layer_bytes=20_000_000)
    pull = docker(nodes.cut, "pull", f"{name}:1")
    assert nodes.registry.stalled.wait(30)
    loading = Load(nodes.cut, content)
    nodes.network.lose()
    nodes.registry.resume.set()
    loading.finish()
    for number in range(OTHERS):
        load(nodes.other, tmp_path / "other.tar", f"other/app:{number}", 10 + number)
    status, output = said(docker(nodes.cut, "tag", "team/app:1", "team/app:tagged"))
    assert (status, clear(output)) == (1, True), output
    for process in (pull, loading.process):
        status, output = said(process)
        assert (status != 0, clear(output)) == (True, True), output
    nodes.network.recover()
    poll(lambda: said(docker(nodes.cut, "tag", "team/app:1", "team/app:tagged"))[0] == 0, RECOVERY_SECONDS)
    succeed(nodes.cut, "pull", f"{name}:1")
    (tmp_path / "image.tar").write_bytes(content)
    succeed(nodes.cut, "load", "--input", str(tmp_path / "image.tar"))
    expected = {"team/app:1", "team/app:2", "team/app:tagged", f"{name}:1", *(f"other/app:{number}" for number in range(OTHERS))}
    assert set(succeed(nodes.other, "images", "--format", "{{.Repository}}:{{.Tag}}").split()) == expected
    verified = nodes.other.run("verify")
    assert verified.returncode == 0, verified.stdout


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_network_that_goes_and_comes_at_any_moment_loses_nothing_acknowledged(nodes: Nodes, tmp_path: Path) -> None:
    """Whatever the node is in the middle of, such as a change whose lock others wait for."""
    acknowledged: set[str] = set()
    over = threading.Event()

    def change() -> None:
        number = 0
        while not over.is_set():
            number += 1
            path = tmp_path / "changed.tar"
            path.write_bytes(archive(f"cut/app:{number}", 1000 + number, layer_bytes=100_000))
            if said(docker(nodes.cut, "load", "--input", str(path)))[0] == 0:
                acknowledged.add(f"cut/app:{number}")

    changing = threading.Thread(target=change)
    changing.start()
    slowest = 0.0
    try:
        for number in range(30):
            time.sleep(random.uniform(0.5, 3))
            nodes.network.lose()
            began = time.monotonic()
            load(nodes.other, tmp_path / "other.tar", f"other/app:{number}", number)
            slowest = max(slowest, time.monotonic() - began)
            acknowledged.add(f"other/app:{number}")
            time.sleep(random.uniform(0, 10))
            nodes.network.recover()
    finally:
        over.set()
        changing.join()
    print(f"slowest change elsewhere: {slowest:.1f} s; acknowledged: {len(acknowledged)}")  # shown with -s
    assert acknowledged <= set(succeed(nodes.other, "images", "--format", "{{.Repository}}:{{.Tag}}").split())
    assert any(name.startswith("cut/") for name in acknowledged)
    verified = nodes.other.run("verify")
    assert verified.returncode == 0, verified.stdout
