"""The log of a real service as JSON: every line is an object, and a request has one id in nginx's log, in ours and at its client."""

from __future__ import annotations

import json
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.conftest import Service
from tests.conformance.front import fronted
from tests.conformance.plain_gunicorn import THREADS, Gunicorn
from tests.conformance.test_edges import CLOSE, exchange, head
from tests.conformance.test_gunicorn import QuickServe, begin_upload
from tests.ports import free_port
from tests.waiting import poll

JSON = {"STOWAGE_LOG_FORMAT": "json"}


def objects(service: Service) -> list[dict[str, Any]]:
    """The lines of the log, all of which must be objects with a time, a level and a logger."""
    found = [json.loads(line) for line in service.log.read_text().splitlines()]
    assert [each for each in found if not {"time", "level", "logger"} <= each.keys()] == []
    return found


def requests(service: Service) -> list[dict[str, Any]]:
    return [each for each in objects(service) if each["logger"] == "stowage.request"]


def plain(root: Path) -> Gunicorn:
    """gunicorn, which must be told by an option."""
    return Gunicorn(root, free_port(), JSON, options=(*THREADS, "--logger-class", "stowage.app.server.json_logger.JsonLogger"))


@pytest.mark.parametrize("make", [lambda root: Service(root, free_port(), JSON), plain], ids=["serve", "gunicorn"])
def test_every_line_is_an_object_from_start_to_stop(make: Callable[[Path], Service], tmp_path: Path) -> None:
    service = make(tmp_path / "stowage")
    assert service.run("db", "upgrade").returncode == 0  # a worker that is stopped while it does this says so in text
    service.start()
    try:
        exchange(service, head("GET", "/_ping", CLOSE))
        exchange(service, head("POST", "/images/load", CLOSE, "Content-Length: 3") + b"bad")
        exchange(service, b"GET /_ping HTTP/1.1\r\nno header\x1b[31m\r\n\r\n")
        poll(lambda: any(each["logger"] == "gunicorn.error" for each in objects(service)) and len(requests(service)) == 2)
    finally:
        service.stop()
    ping, load = requests(service)
    assert (ping["method"], ping["path"], ping["status"], ping["bytes"]) == ("GET", "/_ping", 200, 2)
    assert (load["level"], load["operation"], load["outcome"], load["error"]) == ("ERROR", "load", "failed", "InvalidContent")
    assert any("Invalid request from ip=127.0.0.1" in each.get("message", "") for each in objects(service))


def test_a_request_has_the_same_id_everywhere(tmp_path: Path) -> None:
    service = Service(tmp_path / "stowage", free_port(), JSON)
    service.start()
    folder = tmp_path / "nginx"
    folder.mkdir()
    try:
        with fronted(service, folder) as front:
            asked = urllib.request.Request(f"http://127.0.0.1:{front.port}/_ping", headers={"X-Request-Id": "chosen"})
            with urllib.request.urlopen(asked, timeout=20) as answer:
                given = answer.headers["X-Request-Id"]
            poll(lambda: given in (folder / "stowage.log").read_text())
        assert given != "chosen"
        assert [each["id"] for each in requests(service) if each["path"] == "/_ping"][-1] == given
    finally:
        service.stop()


def test_what_a_stop_cuts_has_its_line(tmp_path: Path) -> None:
    service = QuickServe(tmp_path / "stowage", free_port())
    service.start()
    with begin_upload(service) as upload:
        service.stop()
        assert upload.recv(1) == b""
    log = service.log.read_text()
    assert " WARNING stowage.request method=POST path=/images/load status=- bytes=0 " in log
    assert " operation=load outcome=cut-off " in log
    assert "1 running request was cut: the service stops" in log


def test_a_client_over_tcp_does_not_choose_its_id(tmp_path: Path) -> None:
    service = Service(tmp_path / "stowage", free_port(), JSON)
    service.start()
    try:
        with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
            connection.sendall(head("GET", "/version", CLOSE, "X-Request-Id: chosen"))
            while connection.recv(1 << 16):
                pass
        poll(lambda: any(each["path"] == "/version" for each in requests(service)))
        assert "chosen" not in service.log.read_text()
    finally:
        service.stop()
