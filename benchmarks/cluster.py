"""Several nodes on one machine: PostgreSQL, an S3 server, two services and nginx before them, as `make cluster` starts them.

    python -m benchmarks.cluster [--folder FOLDER] [--port PORT] [--nodes COUNT]

Data stays in the folder: `node1`, `node2`, ... are the roots of the nodes, `postgresql` and `s3` the data of the servers. Everything
listens on loopback or in the folder, and ends with this program.
"""

from __future__ import annotations

import argparse
import http.client
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from stowage.app.stopping import end_with_parent
from tests.ports import free_port
from tests.postgresql import Cluster, as_postgres
from tests.seaweedfs import Seaweed

REPOSITORY = Path(__file__).resolve().parents[1]
SITE = REPOSITORY / "deploy/nginx.conf"
BUCKET = "stowage"
DATABASE = "stowage"

_NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
_START_SECONDS = 60
_STOP_SECONDS = 30
_DURABLE = {"fsync": "on", "full_page_writes": "on", "autovacuum": "on"}
_MAIN = """daemon off;
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    include {folder}/site.conf;
}}
"""


class Failed(Exception):
    """Something did not start."""


@dataclass
class Node:
    """A service, whose processes are a group of their own."""

    root: Path
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self.root / "stowage.sock"

    @property
    def log(self) -> Path:
        return self.root / "log"

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "stowage", *arguments]

    def start(self) -> None:
        """Start the service; it answers a little later."""
        self.root.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = _spawn(self.command("serve"), log, self.environment)

    def wait(self) -> None:
        _wait(lambda: _answers(self.socket), self.process, f"a node: see {self.log}")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command on the store, from this node."""
        return subprocess.run(self.command(*arguments), cwd=REPOSITORY, env=self.environment, capture_output=True, text=True, check=False)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process of the service."""
        if self.process is not None:
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        self._ended()

    def stop(self) -> None:
        """End it as a service manager does; its streams get ten seconds."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self._ended()

    def _ended(self) -> None:
        if self.process is not None:
            self.process.wait(_STOP_SECONDS)
            self.process = None


@dataclass
class Nodes:
    """The parts of a running cluster; `port` is nginx's."""

    folder: Path
    port: int
    postgresql: Cluster
    s3: Seaweed
    nodes: list[Node]
    nginx: subprocess.Popen[bytes] | None = None
    drained: set[int] = field(default_factory=set)

    @property
    def host(self) -> str:
        """What DOCKER_HOST should be."""
        return f"tcp://127.0.0.1:{self.port}"

    def drain(self, *numbers: int) -> None:
        """From now on, send no new request to these nodes, the first of which is 0, and to all others again."""
        self.drained = set(numbers)
        self._write_site()
        if self.nginx is not None:
            self.nginx.send_signal(signal.SIGHUP)

    def start_nginx(self) -> None:
        folder = self.folder / "nginx"
        folder.mkdir(exist_ok=True)
        user = f"user {pwd.getpwuid(0).pw_name};" if os.geteuid() == 0 else ""
        (folder / "main.conf").write_text(_MAIN.format(folder=folder, user=user))
        self._write_site()
        with (folder / "error.log").open("ab") as log:
            self.nginx = _spawn([str(_NGINX), "-c", f"{folder}/main.conf", "-p", str(folder), "-e", f"{folder}/error.log"], log)
        _wait(lambda: _listens(self.port), self.nginx, f"nginx: see {folder}/error.log")

    def stop_nginx(self) -> None:
        if self.nginx is not None:
            self.nginx.terminate()
            self.nginx.wait(_STOP_SECONDS)

    def ended(self) -> str:
        """The part that has ended although nobody has stopped it."""
        processes = {"PostgreSQL": self.postgresql.process, "the S3 server": self.s3.process, "nginx": self.nginx}
        processes |= {f"node {number}": node.process for number, node in enumerate(self.nodes, 1)}
        return next((name for name, process in processes.items() if process is not None and process.poll() is not None), "")

    def _write_site(self) -> None:
        """The shipped site without its TLS address, with a line for each node."""
        text, folder = SITE.read_text(), self.folder / "nginx"
        nodes = [f"server unix:{node.socket}{' down' * (number in self.drained)}" for number, node in enumerate(self.nodes)]
        for failing in ("max_fails=0", "fail_timeout=2s"):
            lines = [f"    {node} {failing};\n" for node in nodes]
            text = text.replace(f"    server unix:/run/stowage/stowage.sock {failing};\n", "".join(lines))
        text = text.replace("listen 127.0.0.1:2375;", f"listen 127.0.0.1:{self.port};").replace("/var/log/nginx/", f"{folder}/")
        (folder / "site.conf").write_text(re.sub(r"\n    (listen 2376|ssl_)[^\n]*", "", text))


@contextmanager
def running_nodes(folder: Path, port: int, count: int = 2, **settings: str) -> Iterator[Nodes]:
    """Start all parts, with these settings of every node, and stop them in the reverse order. Raises Failed."""
    if _NGINX is None:
        raise Failed("nginx is not installed")
    with ExitStack() as running:
        postgresql = running.enter_context(_running_postgresql(folder))
        s3 = running.enter_context(_running_s3(folder))
        shared = {
            "STOWAGE_DATABASE_URL": postgresql.url(DATABASE),
            "STOWAGE_CONTENT_URL": s3.url(BUCKET),
            **s3.environ(),
            **settings,
        }
        nodes = [_node(folder / f"node{number}", shared) for number in range(1, count + 1)]
        for node in nodes:
            running.callback(node.stop)
            node.start()
        for node in nodes:
            node.wait()
        cluster = Nodes(folder, port, postgresql, s3, nodes)
        running.callback(cluster.stop_nginx)
        cluster.start_nginx()
        yield cluster


def _node(root: Path, shared: dict[str, str]) -> Node:
    own = {"STOWAGE_ROOT": str(root), "STOWAGE_BIND": f"unix:{root}/stowage.sock", "STOWAGE_HEALTH_BIND": f"127.0.0.1:{free_port()}"}
    return Node(root, {**os.environ, **shared, **own})


@contextmanager
def _running_postgresql(folder: Path) -> Iterator[Cluster]:
    place = _postgresql_folder(folder)
    cluster = Cluster(place, settings=dict(_DURABLE))
    if not (place / "data/PG_VERSION").exists():
        cluster.create()
    cluster.start()
    try:
        if not cluster.execute(f"SELECT datname FROM pg_database WHERE datname = '{DATABASE}'"):
            cluster.create_database(DATABASE)
        yield cluster
    finally:
        if cluster.process is not None:
            cluster.process.send_signal(signal.SIGINT)  # a fast shutdown: connections are closed, and nothing needs recovery
            cluster.process.wait(_STOP_SECONDS)


def _postgresql_folder(folder: Path) -> Path:
    """A folder for the data of PostgreSQL, which does not run as root: somewhere else if its user cannot enter this one."""
    place = folder / "postgresql"
    if not place.exists():
        if as_postgres() and subprocess.run(["test", "-x", folder], check=False, **as_postgres()).returncode:
            place.unlink(missing_ok=True)
            place.symlink_to(tempfile.mkdtemp(prefix="stowage-postgresql-", dir="/var/tmp"))
        place.mkdir(mode=0o700, exist_ok=True)
        if as_postgres():
            shutil.chown(place, "postgres", "postgres")
    return place.resolve()


@contextmanager
def _running_s3(folder: Path) -> Iterator[Seaweed]:
    (folder / "s3").mkdir(exist_ok=True)
    server = Seaweed(folder / "s3")
    server.start()
    try:
        status, answer = server.request("PUT", f"/{BUCKET}")
        if status not in (http.client.OK, http.client.CONFLICT):
            raise Failed(f"the bucket cannot be made: {answer.decode(errors='replace')}")
        yield server
    finally:
        server.stop()


def _spawn(command: list[str], log: IO[bytes], env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    """A process in a group of its own, which ends with this one, however this one ends."""
    parent = os.getpid()
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=env,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=lambda: end_with_parent(parent, signal.SIGTERM),  # noqa: PLW1509 - it only calls the system
    )


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes] | None, what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():
        if process is None or process.poll() is not None or time.monotonic() > deadline:
            raise Failed(what)
        time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _answers(path: Path) -> bool:
    """Whether a service answers on its socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        try:
            probe.connect(str(path))
            probe.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in probe.recv(64)
        except OSError:
            return False


def _free(wanted: int) -> int:
    return wanted if wanted and not _listens(wanted) else free_port()


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run a cluster until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("var/cluster"), help="where the data is (default: var/cluster)")
    parser.add_argument("--port", type=int, default=2375, help="nginx's port; if it is taken, another one (default: 2375)")
    parser.add_argument("--nodes", type=int, default=2, help="how many nodes (default: 2)")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with running_nodes(folder, _free(options.port), options.nodes) as cluster:
            print(_words(cluster), flush=True)
            while not cluster.ended():
                time.sleep(0.5)
            raise Failed(f"{cluster.ended()} has ended")
    except KeyboardInterrupt:
        print("stopped", flush=True)
        return 0
    except Failed as failure:
        print(f"cluster: {failure}", file=sys.stderr)
        return 1


def _words(cluster: Nodes) -> str:
    return f"""{len(cluster.nodes)} nodes of Stowage are ready behind nginx.
  Address   {cluster.host}
  Nodes     {", ".join(f"unix:{node.socket}" for node in cluster.nodes)}
  Database  {cluster.postgresql.url(DATABASE)}
  Blobs     {cluster.s3.url(BUCKET)}
  Data      {cluster.folder}
  To use it, run this in another terminal:
            export DOCKER_HOST={cluster.host}
  Ctrl-C stops all of it."""


if __name__ == "__main__":
    sys.exit(main())
