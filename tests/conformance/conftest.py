"""Real parts: a Stowage service as users start it, Debian's docker CLI, skopeo and docker-registry, all on loopback and in temporary
folders.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import pytest

from tests.conformance.certificates import certify
from tests.conformance.stores import STORES
from tests.ports import free_port
from tests.postgresql import Cluster
from tests.seaweedfs import Seaweed
from tests.waiting import poll

REPOSITORY = Path(__file__).resolve().parents[2]
START_SECONDS = 30
STOWAGE = (sys.executable, "-m", "stowage")


def wait_for(ready: object, process: subprocess.Popen[bytes], what: str) -> None:
    """Poll `ready()` until it is true; fails when the process ends first or the time is over."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            pytest.fail(f"{what} ended with {process.returncode} before it was ready")
        if callable(ready) and ready():
            return
        time.sleep(0.05)
    pytest.fail(f"{what} was not ready after {START_SECONDS} seconds")


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Service:
    """One Stowage service, its root, and the addresses it listens on."""

    root: Path
    port: int
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.root / "stowage.sock"

    @property
    def log(self) -> Path:
        return self.root.parent / f"{self.root.name}.log"

    def start(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        settings = {"STOWAGE_ROOT": str(self.root), "STOWAGE_BIND": f"unix:{self.socket},127.0.0.1:{self.port}", **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*STOWAGE, "serve"], cwd=REPOSITORY, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: listens(self.port), self.process, f"stowage (log: {self.log})")

    def kill(self) -> None:
        """SIGKILL to every process of the service, as a power cut would; none is left afterwards."""
        self._signal(signal.SIGKILL)
        poll(lambda: not listens(self.port))

    def stop(self) -> None:
        self._signal(signal.SIGTERM)

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None:
            return
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            pass
        self.process.wait(timeout=START_SECONDS)
        self.process = None

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A `stowage` command on this root."""
        environment = {**os.environ, "STOWAGE_ROOT": str(self.root), **self.environment}
        return subprocess.run([*STOWAGE, *arguments], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120)

    def docker(self, *arguments: str, stdin: bytes | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """The docker CLI against the unix socket, with a config folder of its own."""
        environment = {**os.environ, "DOCKER_HOST": f"unix://{self.socket}", "DOCKER_CONFIG": str(self.root.parent / "docker-config")}
        done = subprocess.run(["docker", *arguments], env=environment, input=stdin, capture_output=True, timeout=300)
        if check and done.returncode != 0:
            pytest.fail(f"docker {' '.join(arguments)}: {done.stderr.decode()}")
        return done


def needs(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    stores = STORES.get(metafunc.module.__name__.rpartition(".")[2])
    if stores and "store" in metafunc.fixturenames:
        metafunc.parametrize("store", stores, indirect=True, scope="module")


@pytest.fixture(scope="module")
def store(request: pytest.FixtureRequest) -> str:
    """Where a service has its rows and blobs: one of EVERY store."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture(scope="module")
def new_store(request: pytest.FixtureRequest, store: str) -> Callable[[], dict[str, str]]:
    """Returns the settings of a service on an empty store."""

    def create() -> dict[str, str]:
        settings = {}
        if store != "sqlite":
            cluster: Cluster = request.getfixturevalue("postgresql")
            settings["STOWAGE_DATABASE_URL"] = cluster.create_database(f"service-{uuid4().hex}")
        if store == "s3":
            server: Seaweed = request.getfixturevalue("seaweedfs")
            url = server.url(request.getfixturevalue("bucket"), f"service-{uuid4().hex}")
            settings |= {"STOWAGE_CONTENT_URL": url, **server.environ()}
        return settings

    return create


@pytest.fixture
def service(tmp_path: Path, new_store: Callable[[], dict[str, str]]) -> Iterator[Service]:
    """A running service with an empty store."""
    running = Service(tmp_path / "stowage", free_port(), new_store())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, new_store: Callable[[], dict[str, str]]) -> Iterator[Service]:
    """A running service for the tests of a module."""
    running = Service(tmp_path_factory.mktemp("shared") / "stowage", free_port(), new_store())
    running.start()
    yield running
    running.stop()


@pytest.fixture
def emptied(shared: Service) -> Service:
    """The service of the module, without images. A module whose tests leave nothing else behind uses it as `service`."""
    needs("docker")
    shared.docker("image", "prune", "--all", "--force")
    return shared


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a server and a client that it signed, and a stranger."""
    needs("openssl")
    folder = tmp_path_factory.mktemp("certificates")
    for name, authority in {"authority": None, "server": "authority", "client": "authority", "stranger": None}.items():
        certify(folder, name, authority)
    return folder


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """HOST:PORT of a running docker-registry that is empty at the start of the session."""
    needs("docker-registry")
    folder = tmp_path_factory.mktemp("registry")
    port = free_port()
    config = folder / "config.yml"
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log)
    wait_for(
        lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/").status == 200 if listens(port) else False, process, "docker-registry"
    )
    yield f"127.0.0.1:{port}"
    process.terminate()
    process.wait(timeout=START_SECONDS)


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DOCKER_HOST of a Docker Engine with the containerd image store, with a store and no network of its own."""
    needs("dockerd")
    if os.geteuid() != 0:
        pytest.skip("dockerd needs root")
    folder, port = tmp_path_factory.mktemp("dockerd"), free_port()
    (folder / "daemon.json").write_text('{"features": {"containerd-snapshotter": true}}')
    options = [f"--config-file={folder}/daemon.json", f"--data-root={folder}/data", f"--exec-root={folder}/exec", f"--pidfile={folder}/pid"]
    command = ["dockerd", *options, "--bridge=none", "--iptables=false", "--ip6tables=false", "-H", f"tcp://127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_for(lambda: listens(port), process, f"dockerd (log: {folder}/log)")
    except pytest.fail.Exception as failure:
        process.kill()
        pytest.skip(f"dockerd does not start here: {failure}")
    yield f"tcp://127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)


def skopeo(*arguments: str) -> str:
    needs("skopeo")
    done = subprocess.run(["skopeo", "--insecure-policy", *arguments], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        pytest.fail(f"skopeo {' '.join(arguments)}: {done.stderr}")
    return done.stdout
