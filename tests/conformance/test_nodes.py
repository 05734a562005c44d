"""Two nodes behind nginx, on PostgreSQL and a bucket: traffic of the docker CLI and docker-py while parts of them are killed or stop."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest
import requests
import urllib3

from benchmarks.cluster import BUCKET, DATABASE, Node, Nodes, running_nodes
from tests.conformance.conftest import needs
from tests.conformance.test_crash import archive
from tests.ports import free_port
from tests.postgresql import program
from tests.waiting import poll

CLIENTS = 4
PULLED = 2
REQUEST_SECONDS = 90
"""No request takes longer, whatever happens: the bounds of a change, of a retried transfer and of a stopped node, one after the other."""

_REFUSED = (docker.errors.DockerException, requests.RequestException, urllib3.exceptions.HTTPError, subprocess.CalledProcessError)
"""docker-py lets through what urllib3 says of a stream that is cut."""


@contextmanager
def cluster_folder(folder: Path) -> Iterator[Path]:
    """A folder for a cluster, whose database may be elsewhere."""
    folder.mkdir()
    yield folder
    shutil.rmtree((folder / "postgresql").resolve(), ignore_errors=True)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Nodes]:
    needs("docker")
    program("initdb")
    pytest.importorskip("stowage.services.content.object_store")
    with cluster_folder(tmp_path / "c") as folder, running_nodes(folder, free_port(), STOWAGE_DATABASE_TIMEOUT="9") as running:
        yield running


def cli(host: str, *arguments: str, seconds: int = REQUEST_SECONDS, config: Path | None = None) -> str:
    """What the docker CLI says; raises CalledProcessError."""
    environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(config or "/nonexistent")}
    done = subprocess.run(["docker", *arguments], env=environment, capture_output=True, text=True, timeout=seconds)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, done.args, done.stdout, done.stderr)
    return done.stdout


def hosts(nodes: Nodes) -> list[str]:
    """DOCKER_HOST of each node itself."""
    return [f"unix://{node.socket}" for node in nodes.nodes]


def names(host: str) -> set[str]:
    return set(cli(host, "images", "--format", "{{.Repository}}:{{.Tag}}").split())


def stored(nodes: Nodes) -> list[str]:
    """The objects of blobs in the bucket."""
    status, answer = nodes.s3.request("GET", f"/{BUCKET}", {"list-type": "2", "prefix": "store/blobs/"})
    assert status == 200
    return [part.partition(b"</Key>")[0].decode() for part in answer.split(b"<Key>")[1:]]


def test_whoever_has_another_place_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    own, other = nodes.nodes[0].environment, nodes.s3.create_bucket()
    (tmp_path / "image.tar").write_bytes(archive("team/app:1", 1, layer_bytes=1000))
    cli(nodes.host, "load", "--input", str(tmp_path / "image.tar"))
    elsewhere = {"STOWAGE_ROOT": str(tmp_path / "stranger"), "STOWAGE_BIND": f"unix:{tmp_path}/stranger.sock", "STOWAGE_HEALTH_BIND": ""}
    elsewhere_too = own["STOWAGE_CONTENT_URL"].replace("127.0.0.1", "localhost")
    for content in (str(tmp_path / "folder"), nodes.s3.url(other), elsewhere_too):
        refused = Node(tmp_path / "stranger", {**own, **elsewhere, "STOWAGE_CONTENT_URL": content}).run("serve")
        assert refused.returncode == 1
        assert refused.stderr.startswith("stowage: another Stowage uses this database, on another machine or with another content folder")
    clash = Node(tmp_path / "clash", {**own, "STOWAGE_BIND": f"unix:{tmp_path}/clash.sock"}).run("serve")
    assert (clash.returncode, clash.stderr) == (2, f"stowage: STOWAGE_ROOT: another service is running on {nodes.nodes[0].root}.\n")


class Traffic(threading.Thread):
    """A client that loads, pulls, pushes, saves, tags, deletes and prunes.

    `kept` are the names that were acknowledged and that it has not begun to delete. A request that fails is no error, but it must end.
    """

    def __init__(self, number: int, nodes: Nodes, registry: str, folder: Path) -> None:
        super().__init__()
        self.kept: set[str] = set()
        self.done: dict[str, int] = {}
        self.refused: list[str] = []
        self.slowest = 0.0
        self.failure: BaseException | None = None
        self._number, self._host, self._registry, self._folder = number, nodes.host, registry, folder
        self._chance = random.Random(number)
        self._api = docker.DockerClient(base_url=nodes.host, timeout=REQUEST_SECONDS)
        self._count = 0
        self._over = threading.Event()

    def end(self) -> None:
        self._over.set()

    def run(self) -> None:
        actions = [self.load, self.load, self.pull, self.push, self.save, self.tag, self.delete, self.prune]
        while not self._over.is_set():
            action, began = self._chance.choice(actions), time.monotonic()
            try:
                action()
                self.done[action.__name__] = self.done.get(action.__name__, 0) + 1
            except _REFUSED as refusal:
                self.refused.append(f"{action.__name__}: {getattr(refusal, 'stderr', '') or refusal}")
            except BaseException as failure:  # noqa: BLE001 - the test raises it
                self.failure = failure
                return
            self.slowest = max(self.slowest, time.monotonic() - began)

    def load(self) -> None:
        self._count += 1
        name = f"load{self._number}/image:{self._count}"
        content = archive(name, 1000 * self._number + self._count, layer_bytes=self._chance.choice([30_000, 3_000_000]))
        if self._chance.random() < 0.5:
            self._api.images.load(content)
        else:
            path = self._folder / f"load{self._number}.tar"
            path.write_bytes(content)
            self._cli("load", "--quiet", "--input", str(path))
        self.kept.add(name)

    def pull(self) -> None:
        name = f"{self._registry}/client{self._number}:{self._chance.randrange(PULLED)}"
        if self._chance.random() < 0.5:
            self._api.images.pull(name)
        else:
            self._cli("pull", name)
        self.kept.add(name)

    def push(self) -> None:
        if name := self._choose(self._registry):
            self._cli("push", name)

    def save(self) -> None:
        if name := self._choose(""):
            path = self._folder / f"save{self._number}.tar"
            self._cli("save", "--output", str(path), name)
            with tarfile.open(path) as saved:
                assert "manifest.json" in saved.getnames()

    def tag(self) -> None:
        if name := self._choose(""):
            self._count += 1
            self._api.images.get(name).tag(f"tag{self._number}/image", str(self._count))
            self.kept.add(f"tag{self._number}/image:{self._count}")

    def delete(self) -> None:
        if name := self._choose(""):
            self.kept.discard(name)
            self._cli("rmi", name)

    def prune(self) -> None:
        self._api.images.prune()

    def _choose(self, prefix: str) -> str:
        found = sorted(name for name in self.kept if name.startswith(prefix))
        return self._chance.choice(found) if found else ""

    def _cli(self, *arguments: str) -> None:
        cli(self._host, *arguments, config=self._folder)


def kill_a_node(nodes: Nodes) -> None:
    node = random.choice(nodes.nodes)
    node.kill()
    time.sleep(1)
    node.start()
    node.wait()


def stop_a_node(nodes: Nodes) -> None:
    """For longer than others wait for a change that it may be in the middle of."""
    node = random.choice(nodes.nodes)
    node.signal(signal.SIGSTOP)
    time.sleep(6)
    node.signal(signal.SIGCONT)


def restart_a_node(nodes: Nodes) -> None:
    """As for an upgrade: drained, stopped when its streams have ended or after ten seconds, and started."""
    number = random.randrange(len(nodes.nodes))
    nodes.drain(number)
    time.sleep(2)
    nodes.nodes[number].stop()
    nodes.nodes[number].start()
    nodes.nodes[number].wait()
    nodes.drain()


def restart_the_database(nodes: Nodes) -> None:
    nodes.postgresql.stop()
    time.sleep(1)
    nodes.postgresql.start()


def pause_the_bucket(nodes: Nodes) -> None:
    nodes.s3.pause()
    time.sleep(4)
    nodes.s3.proceed()


def take_the_bucket_away(nodes: Nodes) -> None:
    nodes.s3.stop()
    time.sleep(2)
    nodes.s3.start()


FAULTS = [kill_a_node, stop_a_node, restart_the_database, pause_the_bucket, restart_a_node, take_the_bucket_away]


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("rounds", [1, pytest.param(12, marks=pytest.mark.long)])
def test_nothing_acknowledged_is_lost_and_no_request_hangs(nodes: Nodes, registry: str, tmp_path: Path, rounds: int) -> None:
    stock(nodes, registry, tmp_path)
    clients = [Traffic(number, nodes, registry, tmp_path) for number in range(CLIENTS)]
    with traffic(clients):
        for fault in FAULTS * rounds:
            time.sleep(2)
            fault(nodes)
        time.sleep(2)
    report(clients)
    assert max(client.slowest for client in clients) < REQUEST_SECONDS
    assert all(sum(client.done.values()) for client in clients)
    kept = set().union(*(client.kept for client in clients))
    for host in hosts(nodes):
        assert kept <= names(host)
    verified = nodes.nodes[0].run("verify")
    assert verified.returncode == 0, verified.stdout
    free_all(nodes)


def stock(nodes: Nodes, registry: str, folder: Path) -> None:
    """The same images under names of each client in the registry, which share a layer; nothing is left on the nodes."""
    for number in range(PULLED):
        (folder / "stock.tar").write_bytes(archive("stock/image:1", number, layer_bytes=4_000_000))
        cli(nodes.host, "load", "--input", str(folder / "stock.tar"), config=folder)
        for client in range(CLIENTS):
            name = f"{registry}/client{client}:{number}"
            cli(nodes.host, "tag", "stock/image:1", name, config=folder)
            cli(nodes.host, "push", name, config=folder)
            cli(nodes.host, "rmi", name, config=folder)
    cli(nodes.host, "image", "prune", "--all", "--force", config=folder)


@contextmanager
def traffic(clients: list[Traffic]) -> Iterator[None]:
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.end()
        for client in clients:
            client.join(2 * REQUEST_SECONDS)
    for client in clients:
        assert not client.is_alive()
        if client.failure:
            raise client.failure


def report(clients: list[Traffic]) -> None:
    """Shown if the test fails, or with -s."""
    for client in clients:
        print(f"slowest {client.slowest:.1f} s, kept {len(client.kept)}, done {client.done}")
        for refusal in client.refused:
            print(f"  {refusal.strip()[:300]}")


def free_all(nodes: Nodes) -> None:
    """Remove every image; then nothing is left in the bucket, once the leases of killed processes are taken for abandoned."""
    nodes.postgresql.execute("UPDATE lease SET alive_until = 0", DATABASE)

    def is_empty() -> bool:
        with suppress(subprocess.CalledProcessError):
            cli(nodes.host, "image", "prune", "--all", "--force")
        return not stored(nodes)

    poll(is_empty, 90)
    assert names(nodes.host) == set()
