"""Peers that are not loopback: in a network namespace with another address, a client that connects to that address has it as its own."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest

from tests.conformance.certificates import client_context, tls_settings
from tests.conformance.conftest import REPOSITORY, START_SECONDS, STOWAGE, needs, wait_for
from tests.conformance.plain_gunicorn import GUNICORN, THREADS

Found = TypeVar("Found")
ADDRESS, LOOPBACK, PORT = "10.99.0.1", "127.0.0.1", 2375
CLONE_NEWNET = 0x40000000
NAMESPACE = f'ip link set lo up && ip address add {ADDRESS}/32 dev lo && exec "$@"'
SYNC = ("--worker-class", "sync")
PROXY = ("--proxy-protocol", "auto", "--proxy-allow-from", "*", "--forwarded-allow-ips", "*")


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    needs("unshare")
    needs("ip")
    made = subprocess.run(["unshare", "--net", "sh", "-c", NAMESPACE, "sh", "true"], capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr}")


def within(pid: int, act: Callable[[], Found]) -> Found:
    """What this returns in a thread that has entered the network namespace of a process; sockets made there stay in it."""

    def enter_and_act() -> Found:
        with open(f"/proc/{pid}/ns/net") as namespace:
            assert ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) == 0
        return act()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(enter_and_act).result()


@contextmanager
def serving(root: Path, *command: str, **settings: str) -> Iterator[Callable[..., socket.socket]]:
    """Run a server in a namespace of its own; gives a function that connects to it, from one address there to another."""
    environment = {**os.environ, "STOWAGE_ROOT": str(root), **settings}
    log = root.parent / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", NAMESPACE, "sh", *command], cwd=REPOSITORY, env=environment, stdout=output, stderr=output
        )

    def connect(address: str, source: str = "") -> socket.socket:
        return within(
            process.pid,
            lambda: socket.create_connection((address, PORT), timeout=START_SECONDS, source_address=(source, 0) if source else None),
        )

    def accepts() -> bool:
        try:
            connect(LOOPBACK).close()
        except OSError:
            return False
        return True

    try:
        wait_for(accepts, process, f"the server (log: {log})")
        yield connect
    finally:
        process.terminate()
        process.wait(timeout=30)


def ask(connection: socket.socket, method: str = "GET", before: bytes = b"") -> tuple[int, bytes]:
    """Send a request that claims to come from this machine, after these bytes; the status and the body of its answer."""
    with connection:
        claims = (
            "Host: localhost\r\nX-Forwarded-For: 127.0.0.1\r\nX-Real-IP: 127.0.0.1\r\nForwarded: for=127.0.0.1\r\nConnection: close\r\n"
        )
        connection.sendall(before + f"{method} /_ping HTTP/1.1\r\n{claims}\r\n".encode())
        answer = http.client.HTTPResponse(connection, method=method)
        answer.begin()
        return answer.status, answer.read()


def over_tls(connection: socket.socket, certificates: Path, *, client: bool) -> tuple[int, bytes]:
    """The same over TLS, with or without a client's certificate."""
    context = client_context(certificates, "client" if client else None)
    return ask(context.wrap_socket(connection, server_hostname="localhost"))


def plain_gunicorn(*options: str) -> list[str]:
    return [*GUNICORN, "--bind", f"0.0.0.0:{PORT}", "--bind", f"[::1]:{PORT}", *options, "wsgi:application"]


@pytest.mark.parametrize("options", [THREADS, SYNC, (*THREADS, *PROXY)], ids=["threads", "sync", "proxy protocol"])
def test_plain_gunicorn_answers_this_machine_only(options: tuple[str, ...], tmp_path: Path) -> None:
    with serving(tmp_path / "root", *plain_gunicorn(*options)) as connect:
        assert ask(connect(LOOPBACK)) == ask(connect("::1")) == (200, b"OK")
        status, body = ask(connect(ADDRESS))
        assert (status, "STOWAGE_ALLOW_INSECURE_TCP" in json.loads(body)["message"]) == (403, True)
        assert ask(connect(ADDRESS), "HEAD") == (403, b"")
        assert ask(connect(LOOPBACK, source=ADDRESS))[0] == 403
        if PROXY[0] in options:
            assert ask(connect(ADDRESS), before=b"PROXY TCP4 127.0.0.1 127.0.0.1 1024 2375\r\n")[0] == 403
            assert ask(connect(LOOPBACK), before=b"PROXY TCP4 192.0.2.1 127.0.0.1 1024 2375\r\n")[0] == 200


def test_who_allows_insecure_tcp_has_every_peer_answered(tmp_path: Path) -> None:
    with serving(tmp_path / "root", *plain_gunicorn(*THREADS), STOWAGE_ALLOW_INSECURE_TCP="1") as connect:
        assert ask(connect(ADDRESS)) == (200, b"OK")


def tls(certificates: Path, required: ssl.VerifyMode) -> list[str]:
    files = {"--certfile": "server.pem", "--keyfile": "server.key", "--ca-certs": "authority.pem"}
    return [text for option, name in files.items() for text in (option, str(certificates / name))] + ["--cert-reqs", str(int(required))]


@pytest.mark.parametrize("worker", [THREADS, SYNC], ids=["threads", "sync"])
def test_plain_gunicorn_answers_clients_that_it_verified(worker: tuple[str, ...], certificates: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "root", *plain_gunicorn(*worker, *tls(certificates, ssl.CERT_REQUIRED))) as connect:
        assert over_tls(connect(ADDRESS), certificates, client=True) == (200, b"OK")
        with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
            over_tls(connect(ADDRESS), certificates, client=False)


@pytest.mark.parametrize("required", [ssl.CERT_NONE, ssl.CERT_OPTIONAL], ids=["not asked", "asked"])
def test_tls_alone_verifies_nobody(required: ssl.VerifyMode, certificates: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "root", *plain_gunicorn(*THREADS, *tls(certificates, required))) as connect:
        assert over_tls(connect(ADDRESS), certificates, client=False)[0] == 403
        assert over_tls(connect(LOOPBACK), certificates, client=False)[0] == 200
        assert over_tls(connect(ADDRESS), certificates, client=True)[0] == (403 if required == ssl.CERT_NONE else 200)


def test_the_service_answers_clients_that_it_verified(certificates: Path, tmp_path: Path) -> None:
    with serving(tmp_path / "root", *STOWAGE, "serve", STOWAGE_BIND=f"0.0.0.0:{PORT}", **tls_settings(certificates)) as connect:
        assert over_tls(connect(ADDRESS), certificates, client=True) == (200, b"OK")


def test_the_service_looks_at_peers_too(tmp_path: Path) -> None:
    with serving(tmp_path / "root", *STOWAGE, "serve", STOWAGE_BIND=f"{LOOPBACK}:{PORT}") as connect:
        assert ask(connect(LOOPBACK)) == (200, b"OK")
        assert ask(connect(LOOPBACK, source=ADDRESS))[0] == 403
