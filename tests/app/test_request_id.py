"""The id of a request: who may choose it, and where it appears; the lines of slow and cut requests."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from stowage.app.request_log import REQUEST_LOG, RequestLog
from stowage.blueprints.routing import Answer
from stowage.blueprints.streaming import stream_progress
from stowage.services.errors import InvalidContent
from stowage.services.progress import Progress
from tests.app.test_request_log import Lines, logged

__all__ = ["logged"]
ON_UNIX = {"environ_overrides": {"REMOTE_ADDR": ""}}
OVER_TCP: dict[str, Any] = {}


@pytest.mark.parametrize(
    ("sent", "options", "id_"),
    [
        pytest.param("a-B_c.1:2/3+4=", ON_UNIX, "a-B_c.1:2/3+4=", id="by a proxy on the unix socket"),
        pytest.param("x" * 200, ON_UNIX, "x" * 64, id="too long"),
        pytest.param('a b"\x1b[31mc', ON_UNIX, "ab31mc", id="odd characters"),
    ],
)
def test_a_proxy_names_a_request(client: FlaskClient, logged: Lines, sent: str, options: dict[str, Any], id_: str) -> None:
    answer = client.get("/_ping", headers={"X-Request-Id": sent}, buffered=True, **options)
    assert (answer.headers["X-Request-Id"], logged.last()[1]["id"]) == (id_, id_)


@pytest.mark.parametrize(
    ("sent", "options"),
    [
        pytest.param("chosen", OVER_TCP, id="over TCP"),
        pytest.param(None, ON_UNIX, id="none"),
        pytest.param('"" ', ON_UNIX, id="none that is printable"),
    ],
)
def test_every_other_request_gets_an_id_of_its_own(client: FlaskClient, logged: Lines, sent: str | None, options: dict[str, Any]) -> None:
    headers = {} if sent is None else {"X-Request-Id": sent}
    seen = set()
    for _ in range(2):
        seen.add(client.get("/_ping", headers=headers, buffered=True, **options).headers["X-Request-Id"])
        assert logged.last()[1]["id"] in seen
    assert len(seen) == 2
    assert all(re.fullmatch("[0-9a-f]{16}", each) for each in seen)


def answering(app: Flask, view: Callable[[], Any], slow_seconds: float) -> FlaskClient:
    """A client of the application with one more route, where a request is slow after this time."""
    app.add_url_rule("/slow", "slow", view, methods=["GET", "POST"], answer=Answer())
    app.extensions[REQUEST_LOG].slow_seconds = slow_seconds
    return app.test_client()


def late() -> Response:
    time.sleep(0.05)
    return Response("x")


def test_a_slow_request_is_a_warning(app: Flask, logged: Lines) -> None:
    answering(app, late, 0.04).get("/slow", buffered=True)
    level, fields = logged.last()
    assert level == "WARNING"
    assert int(fields["first_ms"]) >= 50


@pytest.mark.parametrize(
    ("method", "seconds", "body"),
    [
        pytest.param("GET", 0, b"", id="switched off"),
        pytest.param("GET", 20, b"", id="fast enough"),
        pytest.param("POST", 0.04, b"body", id="a body that its client may send slowly"),
    ],
)
def test_others_are_not(app: Flask, logged: Lines, method: str, seconds: float, body: bytes) -> None:
    answering(app, late, seconds).open("/slow", method=method, data=body, buffered=True)
    level, fields = logged.last()
    assert (level, "first_ms" in fields) == ("INFO", False)


def test_a_stream_is_not_slow_if_it_begins_soon(app: Flask, logged: Lines) -> None:
    def lines() -> Any:
        yield Progress(status="a")
        time.sleep(0.6)
        yield Progress(status="b")

    answering(app, lambda: stream_progress(lines()), 0.5).get("/slow", buffered=True)
    assert logged.last()[0] == "INFO"


def test_a_failure_has_the_class_of_its_error(app: Flask, client: FlaskClient, logged: Lines) -> None:
    client.post("/images/load", data=b"no archive", buffered=True)
    assert logged.last()[1]["error"] == "InvalidContent"
    client.post("/images/create?fromImage=localhost:1/a&tag=1", buffered=True)
    assert logged.last()[1]["error"] == "RegistryFailure"
    client.get("/images/nope/json", buffered=True)
    assert "error" not in logged.last()[1]


def test_a_request_that_the_service_cuts_has_its_line(app: Flask, logged: Lines) -> None:
    def lines() -> Any:
        yield Progress(status="a")
        raise InvalidContent("b")

    app.add_url_rule("/stream", "stream", lambda: stream_progress(lines(), operation="pull"), methods=["GET"], answer=Answer())
    answer = app.test_client().get("/stream")
    assert next(answer.iter_encoded())
    log: RequestLog = app.extensions[REQUEST_LOG]
    log.cut()
    level, fields = logged.last()
    assert (level, fields["status"], fields["operation"], fields["outcome"]) == ("WARNING", "200", "pull", "cut-off")
    answer.close()
    log.cut()
    assert logged.count == 1


def test_a_request_whose_application_fails_has_its_line_too(logged: Lines) -> None:
    def fail(*_: object) -> Any:
        raise KeyboardInterrupt

    log = RequestLog(fail, 0)
    with pytest.raises(KeyboardInterrupt):
        log({"REQUEST_METHOD": "GET", "PATH_INFO": "/", "REMOTE_ADDR": "192.0.2.1"}, lambda *_: lambda _: None)
    assert logged.last()[1]["status"] == "-"
    log.cut()
    assert logged.count == 1


def test_a_unix_socket_of_gunicorn_is_trusted_too(client: FlaskClient, logged: Lines) -> None:
    near, far = socket.socketpair()
    with near, far:
        connection = SimpleNamespace(family=socket.AF_UNIX, settimeout=lambda _: None, fileno=near.fileno, getsockopt=near.getsockopt)
        client.get("/_ping", headers={"X-Request-Id": "a"}, environ_overrides={"gunicorn.socket": connection}, buffered=True)
    assert logged.last()[1]["id"] == "a"
