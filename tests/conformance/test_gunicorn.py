"""A store has one service, whatever starts it: the workers of one gunicorn share it, and every other server is refused."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import REPOSITORY, START_SECONDS, STOWAGE, Service, listens, wait_for
from tests.conformance.plain_gunicorn import THREADS, Gunicorn
from tests.ports import free_port

SERVE = """
from stowage.app.server import serving
from stowage.app.settings import Config

settings = serving._settings
serving._settings = lambda config: settings(config) | {"graceful_timeout": 1, "loglevel": "info"}
serving.serve(Config.from_environ())
"""
"""`stowage serve`, but a stopping worker gives its streams one second instead of ten, and logs that it exits."""


@dataclass
class QuickServe(Service):
    def start(self) -> None:
        environment = {**os.environ, "STOWAGE_ROOT": str(self.root), "STOWAGE_BIND": f"127.0.0.1:{self.port}"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVE], cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        wait_for(lambda: listens(self.port), self.process, f"stowage (log: {self.log})")


def wait_until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"{what}: not after {START_SECONDS} seconds"
        time.sleep(0.05)


def answers(service: Service) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}/images/json", timeout=20) as answer:
        return bool(answer.read() == b"[]\n")


def beside(service: Service, *options: str) -> Gunicorn:
    """A gunicorn on the same root and another port."""
    return Gunicorn(service.root, free_port(), options=(*THREADS, *options))


def refused(gunicorn: Gunicorn) -> bool:
    """Whether gunicorn ends by itself, with the sentence and no traceback of it; gunicorn may add one of its own where two workers fail."""
    before = gunicorn.log.read_bytes() if gunicorn.log.exists() else b""
    try:
        status = gunicorn.launch().wait(timeout=START_SECONDS)
    finally:
        gunicorn.kill()
    told = gunicorn.log.read_bytes().removeprefix(before)
    sentence = f"stowage: STOWAGE_ROOT: another service is running on {gunicorn.root}.\n"
    return status != 0 and sentence.encode() in told and b"ConfigError" not in told


def serve_is_refused(service: Service) -> bool:
    environment = {**os.environ, "STOWAGE_ROOT": str(service.root), "STOWAGE_BIND": f"127.0.0.1:{free_port()}"}
    done = subprocess.run([*STOWAGE, "serve"], cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True, timeout=START_SECONDS)
    return (done.returncode, done.stderr) == (2, f"stowage: STOWAGE_ROOT: another service is running on {service.root}.\n")


@pytest.fixture(params=[THREADS, (*THREADS, "--preload"), ("--worker-class", "sync")], ids=["threads", "preload", "sync"])
def gunicorn(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Gunicorn]:
    running = Gunicorn(tmp_path / "stowage", free_port(), options=request.param)
    running.start()
    yield running
    running.stop()


def test_workers_share_the_root_through_a_reload_and_everybody_else_is_refused(gunicorn: Gunicorn) -> None:
    assert answers(gunicorn)
    assert refused(beside(gunicorn))
    old = gunicorn.workers()
    os.kill(gunicorn.pid, signal.SIGHUP)
    wait_until(lambda: len(gunicorn.workers()) == 2 and not gunicorn.workers() & old, "new workers")
    assert answers(gunicorn)
    assert serve_is_refused(gunicorn)


def test_the_documented_option_makes_gunicorn_ignore_the_header_script_name(tmp_path: Path) -> None:
    option = "--forwarder-headers"
    assert f"{option} ''" in (REPOSITORY / "docs" / "deployment.md").read_text()
    gunicorn = Gunicorn(tmp_path / "stowage", free_port(), options=(*THREADS, option, ""))
    gunicorn.start()
    try:
        request = urllib.request.Request(f"http://127.0.0.1:{gunicorn.port}/images/json", headers={"SCRIPT_NAME": "/x"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.read() == b"[]\n"
    finally:
        gunicorn.stop()


@pytest.mark.parametrize("options", [(), ("--preload",)], ids=["workers", "preload"])
def test_gunicorn_is_refused_beside_the_service(service: Service, options: tuple[str, ...]) -> None:
    assert refused(beside(service, *options))
    assert answers(service)


def begin_upload(service: Service) -> socket.socket:
    """A connection in the middle of an upload that a thread of the service is reading."""
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=START_SECONDS)
    connection.sendall(b"POST /images/load HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n")
    assert connection.recv(1 << 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
    return connection


def gave_up(service: Service) -> bool:
    """Whether every worker has left gunicorn's loop; one whose thread is still reading an upload lives on."""
    log = service.log.read_text()
    return log.count("Worker exiting") == log.count("Booting worker")


def is_held(root: Path) -> bool:
    with (root / "lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@contextmanager
def orphaned(service: Service) -> Iterator[None]:
    """Within the context an upload to a worker goes on whose parent was killed; then the service is started again."""
    service.start()
    assert service.process is not None
    try:
        with begin_upload(service):
            os.killpg(service.process.pid, signal.SIGSTOP)
            service.process.kill()
            service.process.wait()
            assert serve_is_refused(service)
            assert refused(beside(service))
            os.killpg(service.process.pid, signal.SIGCONT)
            yield
        wait_until(lambda: not is_held(service.root), "the last worker has ended")
        service.start()
        assert answers(service)
    finally:
        service.kill()


def test_a_worker_that_has_lost_its_parent_cuts_its_streams_and_ends(tmp_path: Path) -> None:
    service = QuickServe(tmp_path / "stowage", free_port())
    with orphaned(service):
        wait_until(lambda: not is_held(service.root), "the last worker has ended")


def test_a_worker_that_outlives_its_parent_keeps_everybody_out_until_it_ends(tmp_path: Path) -> None:
    service = Gunicorn(tmp_path / "stowage", free_port())
    with orphaned(service):
        wait_until(lambda: gave_up(service), "every worker has given up its streams")
        assert serve_is_refused(service)
        assert refused(beside(service))
