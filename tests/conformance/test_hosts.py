"""Who gets in by Host and Origin: web pages on every transport, and the hosts that the docker CLI asks for."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.certificates import client_context, tls_settings
from tests.conformance.conftest import Service, needs
from tests.conformance.test_edges import CLOSE, head, message_of, parse
from tests.ports import free_port

BROKEN = (
    "[",
    "[]",
    "[::1",
    "localhost:",
    "localhost:8080:1",
    "evil.example@localhost",
    "localhost#.evil.example",
    "localhost%2eexample",
    "local host",
    "\xe9",
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service on a unix socket and on every address of this machine, known under two more names."""
    settings = {"STOWAGE_HOSTS": "engine.example,*.pages.example", "STOWAGE_ALLOW_INSECURE_TCP": "1"}
    service = Service(tmp_path_factory.mktemp("hosts") / "stowage", free_port(), settings)
    service.environment["STOWAGE_BIND"] = f"unix:{service.socket},0.0.0.0:{service.port}"
    service.start()
    yield service
    service.stop()


@pytest.fixture(scope="module")
def encrypted(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("encrypted") / "stowage", free_port(), tls_settings(certificates))
    service.start()
    yield service
    service.stop()


def ask(connection: socket.socket, host: str, origin: str | None) -> tuple[int, str]:
    """The status and the message of a prune that a page makes a browser ask for."""
    headers = [] if origin is None else [f"Origin: {origin}"]
    request = head("POST", "/images/prune", CLOSE, "Content-Length: 0", *headers, host=host)
    connection.sendall(request.decode().encode("latin-1"))
    status, _, body = parse(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    return status, message_of(body) if status != 200 else ""


def over_unix(service: Service, host: str, origin: str | None = None) -> tuple[int, str]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(20)
        connection.connect(str(service.socket))
        return ask(connection, host, origin)


def over_tcp(service: Service, host: str, origin: str | None = None) -> tuple[int, str]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        return ask(connection, host, origin)


def over_tls(service: Service, certificates: Path, host: str, origin: str | None = None) -> tuple[int, str]:
    plain = socket.create_connection(("localhost", service.port), timeout=20)
    with client_context(certificates, "client").wrap_socket(plain, server_hostname="localhost") as connection:
        return ask(connection, host, origin)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "", "http://[", "http://localhost:8080", "http://localhost", "http://localhost:2375.evil.example"],
)
def test_a_foreign_page_prunes_nothing_on_any_transport(plain: Service, encrypted: Service, certificates: Path, origin: str) -> None:
    answers = {
        "unix": over_unix(plain, "localhost:2375", origin),
        "TCP": over_tcp(plain, "localhost:2375", origin),
        "TLS": over_tls(encrypted, certificates, "localhost:2375", origin),
    }
    assert [name for name, (status, message) in answers.items() if status != 403 or "STOWAGE_HOSTS" not in message] == []


@pytest.mark.parametrize("origin", ["http://engine.example", "https://engine.example:8443", "https://ui.pages.example"])
def test_a_page_of_a_named_host_is_served(plain: Service, origin: str) -> None:
    assert (over_tcp(plain, "localhost:2375", origin), over_unix(plain, "localhost", origin)) == ((200, ""), (200, ""))


def test_a_page_of_the_host_that_is_asked_for_is_served(plain: Service, encrypted: Service, certificates: Path) -> None:
    assert over_tcp(plain, "localhost:2375", "http://localhost:2375") == (200, "")
    assert over_unix(plain, "images.example.org:2376", "https://images.example.org:2376") == (200, "")
    assert over_unix(plain, "images.example.org", "http://images.example.org") == (200, "")
    assert over_tls(encrypted, certificates, "images.example.org:443", "https://images.example.org") == (200, "")
    assert over_tls(encrypted, certificates, "images.example.org", "http://images.example.org")[0] == 403


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "pages.example", *BROKEN])
def test_a_foreign_host_is_refused_over_plain_tcp_whatever_is_bound(plain: Service, host: str) -> None:
    status, message = over_tcp(plain, host)
    assert (status, "STOWAGE_HOSTS" in message) == (403, True)
    assert "Traceback" not in plain.log.read_text()


@pytest.mark.parametrize("host", ["evil.example", "["])
def test_only_the_origin_counts_where_no_page_can_bring_its_name_to(
    plain: Service, encrypted: Service, certificates: Path, host: str
) -> None:
    assert (over_unix(plain, host), over_tls(encrypted, certificates, host)) == ((200, ""), (200, ""))
    assert over_unix(plain, host, f"http://{host}x")[0] == 403


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hosts file for the docker CLI alone, with names of this machine."""
    file = tmp_path_factory.mktemp("names") / "hosts"
    file.write_text("127.0.0.1 localhost docker api.moby.localhost host.docker.internal engine.example evil.example\n::1 localhost\n")
    if subprocess.run(["unshare", "-m", "mount", "--bind", str(file), "/etc/hosts"], capture_output=True).returncode != 0:
        pytest.skip("only root can give the docker CLI a hosts file of its own")
    return file


def docker_version(names: Path, host: str) -> tuple[int, str]:
    """`docker version` against this host, whose name the CLI looks up in this file."""
    needs("docker")
    script = f'mount --bind "{names}" /etc/hosts && exec docker version --format "{{{{.Server.Version}}}}"'
    environment = {**os.environ, "DOCKER_HOST": host, "DOCKER_CONFIG": str(names.parent / "docker-config")}
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout.strip() or done.stderr.strip()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "docker", "api.moby.localhost", "host.docker.internal", "engine.example"])
def test_the_docker_cli_reaches_the_service_under_its_names(plain: Service, names: Path, name: str) -> None:
    assert docker_version(names, f"tcp://{name}:{plain.port}") == (0, "0.1.0")


def test_the_docker_cli_is_told_which_setting_a_further_name_needs(plain: Service, names: Path) -> None:
    code, message = docker_version(names, f"tcp://evil.example:{plain.port}")
    assert (code, "STOWAGE_HOSTS" in message) == (1, True)


def test_the_docker_cli_reaches_the_service_through_its_unix_socket(plain: Service) -> None:
    needs("docker")
    assert plain.docker("version", "--format", "{{.Server.Version}}").stdout == b"0.1.0\n"


def test_the_docker_cli_reaches_the_service_through_ssh_to_a_machine_where_it_listens_on_tcp(plain: Service, tmp_path: Path) -> None:
    """In the place of ssh stands a program that runs its command here: the requests are those of the docker CLI."""
    needs("docker")
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(f"#!/bin/sh\nexec {shutil.which('docker')} --host tcp://127.0.0.1:{plain.port} system dial-stdio\n")
    ssh.chmod(0o755)
    environment = {**os.environ, "PATH": f"{ssh.parent}:{os.environ['PATH']}", "DOCKER_CONFIG": str(tmp_path)}
    command = ["docker", "--host", "ssh://user@there.example", "version", "--format", "{{json .Server.Version}}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.stderr, json.loads(done.stdout)) == ("", "0.1.0")
