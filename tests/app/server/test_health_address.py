"""The health address: who is answered there, what, and what its clients cannot take from others."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event, Semaphore

import pytest
from flask import Flask

from stowage.app import peers
from stowage.app.server.seats import HEALTH_THREADS, QUICK_THREADS
from stowage.blueprints.system.readyz import READINESS
from tests.app.server.test_worker import Cut, answer, upload
from tests.app.server.worker import PATIENCE, Served, rest, serving, statuses
from tests.conformance.test_edges import CLOSE, head
from tests.fake_registry.server import CERTIFICATE
from tests.waiting import poll

HEALTH = head("GET", "/healthz", CLOSE)


@pytest.fixture
def served(app: Flask, tmp_path: Path) -> Iterator[Served]:
    with serving(app, tmp_path, STOWAGE_HEALTH_BIND="127.0.0.1:0") as running:
        yield running


def probe(served: Served, request: bytes) -> bytes:
    with served.probe() as connection:
        connection.sendall(request)
        return rest(connection)


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/readyz?verbose=1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_answers_probes(served: Served, method: str, path: str) -> None:
    assert statuses(probe(served, head(method, path, CLOSE))) == ["200"]


@pytest.mark.parametrize(
    "path",
    [
        *("/", "/_ping", "/version", "/images/json", "/v1.45/images/json", "/v1.45/healthz", "/openapi.json", "/stowage/blobs"),
        *("//healthz", "/healthz/", "/healthz/../images/json", "/images/json/../../healthz", "/healthz%2f..%2f_ping", "/a/healthz"),
        *("/_ping#/healthz", "http://localhost/_ping", "/%68ealthz%00"),
    ],
)
def test_it_answers_nothing_else(served: Served, path: str) -> None:
    assert statuses(probe(served, head("GET", path, CLOSE))) == ["404"]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_it_takes_no_other_method(served: Served, method: str) -> None:
    assert statuses(probe(served, head(method, "/healthz", CLOSE))) == ["404"]


def test_no_header_leads_to_another_path(served: Served) -> None:
    for field in ("SCRIPT_NAME: /healthz", "PATH_INFO: /_ping", "X-Forwarded-Path: /_ping", "X-Original-URL: /_ping"):
        assert statuses(probe(served, head("GET", "/healthz/_ping", field, CLOSE))) == ["404"]


def test_a_body_is_not_waited_for(served: Served, held: ExitStack) -> None:
    for _ in range(20):
        connection = held.enter_context(served.probe())
        connection.sendall(head("POST", "/images/load", "Content-Length: 100000"))
        assert answer(connection) == 404
    assert statuses(probe(served, HEALTH)) == ["200"]


def test_strangers_and_foreign_hosts_are_answered(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_is_loopback", lambda _: False)
    request = b"GET /readyz HTTP/1.1\r\nHost: stranger.example\r\nOrigin: https://page.example\r\nConnection: close\r\n\r\n"
    assert statuses(probe(served, request)) == ["200"]
    assert statuses(served.exchange(request.replace(b"/readyz", b"/healthz"), family=socket.AF_INET)) == ["403"]


def test_it_speaks_no_tls_though_the_service_does(app: Flask, tmp_path: Path) -> None:
    files = {f"STOWAGE_TLS_{name}": str(CERTIFICATE) for name in ("CERT", "KEY", "CA")}
    with serving(app, tmp_path, STOWAGE_HEALTH_BIND="127.0.0.1:0", **files) as served:
        assert statuses(probe(served, HEALTH)) == ["200"]
        with served.connect() as connection:
            assert statuses(Cut(connection, 1 << 20).exchange(HEALTH)) == ["200"]


def test_it_may_be_a_unix_socket_which_everybody_may_use(app: Flask, tmp_path: Path) -> None:
    with serving(app, tmp_path, STOWAGE_HEALTH_BIND=f"unix:{tmp_path}/health.sock") as served:
        assert statuses(probe(served, HEALTH)) == ["200"]
        assert statuses(probe(served, head("GET", "/_ping", CLOSE))) == ["404"]
        assert statuses(served.exchange(head("GET", "/_ping", CLOSE))) == ["200"]
        modes = [stat.S_IMODE(os.stat(tmp_path / name).st_mode) for name in ("health.sock", "s.sock")]
        assert modes == [0o666, 0o600]


def test_probes_are_answered_while_every_thread_is_busy(served: Served, held: ExitStack) -> None:
    for _ in range(4):
        upload(held.enter_context(served.over_unix()))
    threads = served.worker._seats._quick.threads
    assert threads.try_take(QUICK_THREADS)
    try:
        assert statuses(probe(served, HEALTH) + probe(served, head("GET", "/readyz", CLOSE))) == ["200", "200"]
    finally:
        threads.give_back(QUICK_THREADS)


class Hanging:
    """A check of the store that gets no answer until it may go on."""

    def __init__(self) -> None:
        self.asked, self.goes_on = Semaphore(0), Event()

    def problems(self) -> list[str]:
        self.asked.release()
        assert self.goes_on.wait(PATIENCE)
        return []


def test_a_store_that_hangs_delays_those_who_ask_for_it_and_no_ping(served: Served, app: Flask, held: ExitStack) -> None:
    app.extensions[READINESS] = check = Hanging()
    held.callback(check.goes_on.set)
    for _ in range(HEALTH_THREADS):
        held.enter_context(served.probe()).sendall(head("GET", "/readyz", CLOSE))
        assert check.asked.acquire(timeout=PATIENCE)
    with served.connect() as connection:
        connection.settimeout(PATIENCE / 2)
        connection.sendall(head("GET", "/_ping", CLOSE))
        assert statuses(rest(connection)) == ["200"]


def test_idle_clients_of_it_make_way_for_others(served: Served, held: ExitStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(served.worker._health, "_most", 4)
    idle = [held.enter_context(served.probe()) for _ in range(20)]
    assert [rest(connection) for connection in idle[:16]] == [b""] * 16
    assert statuses(probe(served, HEALTH)) == ["200"]
    poll(lambda: served.worker._health.count <= 4)
    assert statuses(served.exchange(head("GET", "/_ping", CLOSE))) == ["200"]


def test_a_worker_that_stops_answers_that_it_is_not_ready_and_waits_for_no_probe(served: Served, held: ExitStack) -> None:
    idle, working = held.enter_context(served.probe()), held.enter_context(served.over_unix())
    upload(working)
    served.worker.alive = False
    poll(lambda: statuses(probe(served, head("GET", "/readyz", CLOSE))) == ["503"])
    assert statuses(probe(served, HEALTH)) == ["200"]
    working.sendall(b"x" * 9)
    assert statuses(rest(working)) == ["200"]
    working.close()
    served.thread.join(5)
    assert not served.thread.is_alive()
    idle.close()
