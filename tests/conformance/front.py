"""Real nginx with the shipped site in front of a real service: only paths and ports of deploy/nginx.conf are replaced."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.certificates import certify
from tests.conformance.conftest import REPOSITORY, START_SECONDS, Service, listens, needs, wait_for
from tests.ports import free_port

SITE = REPOSITORY / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
MAIN = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 256; }}
http {{
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/answers;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    gzip on;
    include {folder}/site.conf;
}}
"""


def site(folder: Path, port: int, tls_port: int, nodes: list[str]) -> str:
    """The shipped site with the paths and ports of a test, and a line for each node; every one of them must stand in it."""
    text = SITE.read_text()
    for shipped, here in (
        *(
            (f"    server unix:/run/stowage/stowage.sock {failing};\n", "".join(f"    server {node} {failing};\n" for node in nodes))
            for failing in ("max_fails=0", "fail_timeout=2s")
        ),
        ("listen 127.0.0.1:2375;", f"listen 127.0.0.1:{port};"),
        ("listen 2376 ssl;", f"listen 127.0.0.1:{tls_port} ssl;"),
        ("/etc/stowage/", f"{folder}/"),
        ("/var/log/nginx/", f"{folder}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, here)
    return text


@dataclass
class Front:
    """nginx: its folder with logs and certificates, the plain port and the TLS port, and the service behind it."""

    folder: Path
    port: int
    tls_port: int
    service: Service

    @property
    def site(self) -> str:
        return site(self.folder, self.port, self.tls_port, [f"unix:{self.service.socket}"])

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def exchange(self, request: bytes) -> bytes:
        """Everything that comes back until the connection is closed."""
        with self.connect() as connection:
            connection.sendall(request)
            return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def docker(self, *arguments: str, stdin: bytes | None = None, **environment: str) -> subprocess.CompletedProcess[bytes]:
        """The docker CLI through nginx, on its plain port unless the environment says otherwise."""
        environment = {"DOCKER_HOST": f"tcp://127.0.0.1:{self.port}", "DOCKER_CONFIG": str(self.folder / "docker-config"), **environment}
        return subprocess.run(["docker", *arguments], env={**os.environ, **environment}, input=stdin, capture_output=True, timeout=300)

    def spooled(self) -> list[Path]:
        """What nginx wrote to its disk of bodies and answers."""
        return [path for name in ("bodies", "answers") for path in (self.folder / name).rglob("*") if path.is_file()]


@contextmanager
def running_front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A running service and nginx before it."""
    service = Service(tmp_path_factory.mktemp("behind") / "stowage", free_port())
    service.start()
    with fronted(service, tmp_path_factory.mktemp("nginx")) as front:
        yield front
    service.stop()


@contextmanager
def fronted(service: Service, folder: Path) -> Iterator[Front]:
    """nginx before a service that runs."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    needs("openssl")
    front = Front(folder, free_port(), free_port(), service)
    make_certificates(folder)
    with running_nginx(folder, front.site, front.port, front.tls_port):
        yield front


@contextmanager
def running_nginx(folder: Path, text: str, *ports: int) -> Iterator[subprocess.Popen[bytes]]:
    """nginx with a site that listens on these ports."""
    if NGINX is None:
        pytest.skip("nginx is not installed")
    (folder / "site.conf").write_text(text)
    (folder / "main.conf").write_text(MAIN.format(folder=folder, user=f"user {pwd.getpwuid(0).pw_name};" if os.getuid() == 0 else ""))
    process = subprocess.Popen([NGINX, "-c", f"{folder}/main.conf", "-p", str(folder), "-e", f"{folder}/error.log"])
    try:
        wait_for(lambda: all(map(listens, ports)), process, f"nginx (log: {folder}/error.log)")
        yield process
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


def make_certificates(folder: Path) -> None:
    """The files that the site names, and a client's."""
    certify(folder, "ca")
    certify(folder, "server", "ca")
    certify(folder, "client", "ca")
