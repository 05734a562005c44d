"""The line of a request: its id, what it names, and how its stream ended; the lines of slow and cut requests."""

from __future__ import annotations

import gc
import logging
import re
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from stowage.app.request_log import REQUEST_LOG, RequestLog
from stowage.blueprints.request import _Body
from stowage.blueprints.routing import Answer
from stowage.blueprints.streaming import stream_progress, stream_tar
from stowage.services.archive.compression import Decompressor
from stowage.services.archive.tar_reader import TarReader
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.progress import Progress, ProgressStream
from tests.builders import compress, load_image, make_tar, simple_layout

ON_UNIX = {"environ_overrides": {"REMOTE_ADDR": ""}}
OVER_TCP: dict[str, Any] = {}
PAIR = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^ "=\\]+)')


class Lines:
    """The lines of requests that have been logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    @property
    def count(self) -> int:
        return len([each for each in self._caplog.records if each.name == "stowage.request"])

    def last(self) -> tuple[str, dict[str, str]]:
        """The level of the newest line and its fields."""
        record = [each for each in self._caplog.records if each.name == "stowage.request"][-1]
        return record.levelname, parse(record.getMessage())


def parse(line: str) -> dict[str, str]:
    """The pairs of a line in logfmt; fails if there is anything else."""
    assert re.fullmatch(rf"{PAIR.pattern}( {PAIR.pattern})*", line), line
    return {key: re.sub(r"\\(.)", r"\1", value[1:-1]) if value[0] == '"' else value for key, value in PAIR.findall(line)}


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.INFO, "stowage")
    return Lines(caplog)


@pytest.fixture
def stored(engine: Engine) -> None:
    load_image(engine, simple_layout().to_tar())


@pytest.mark.parametrize(
    ("method", "path", "query", "named"),
    [
        pytest.param("POST", "/images/create", {"fromImage": "a/b", "tag": "1"}, {"image": "a/b:1"}, id="pull"),
        pytest.param("POST", "/images/create", {"fromImage": "a/b"}, {"image": "a/b"}, id="pull of a repository"),
        pytest.param("POST", "/images/create", {"fromImage": "a", "tag": "sha256:0"}, {"image": "a@sha256:0"}, id="pull by digest"),
        pytest.param("POST", "/images/create", {"fromImage": 'A "b"=', "tag": "1"}, {"image": 'A "b"=:1'}, id="what is no name"),
        pytest.param(
            "POST", "/images/create", {"fromImage": "a", "platform": "s e c"}, {"image": "a"}, id="pull whose parameters are wrong"
        ),
        pytest.param(
            "POST",
            "/images/create",
            {"fromSrc": "https://user:pass@host/a@b?key#part", "repo": "a", "tag": "1", "changes": "ENV A=secret", "message": "secret"},
            {"image": "a:1", "from": "https://host/a@b"},
            id="import",
        ),
        pytest.param("POST", "/images/simple/tag", {"repo": "a", "tag": "2"}, {"image": "simple", "to": "a:2"}, id="tag"),
        pytest.param("POST", "/images/a/b/push", {"tag": "1"}, {"image": "a/b:1"}, id="push"),
        pytest.param("GET", "/images/get", {"names": ["a", "b"]}, {"image": "a,b", "images": "2"}, id="save of several"),
        pytest.param("GET", "/images/simple/get", {}, {"image": "simple", "operation": "save", "outcome": "ok"}, id="save"),
        pytest.param("GET", "/v1.45/images/a:1/json", {}, {"image": "a:1"}, id="inspect"),
        pytest.param("GET", "/images/a:1/history", {}, {"image": "a:1"}, id="history"),
        pytest.param("DELETE", "/images/a:1", {"force": "1"}, {"image": "a:1"}, id="delete"),
        pytest.param("GET", "/distribution/A/json", {}, {"image": "A"}, id="distribution"),
        pytest.param("GET", "/containers/a/json", {}, {}, id="a container is no image"),
        pytest.param("GET", "/_ping", {"fromImage": "secret", "names": "secret"}, {}, id="parameters that the route does not have"),
    ],
)
@pytest.mark.usefixtures("stored")
def test_a_line_names_the_images(
    client: FlaskClient, logged: Lines, method: str, path: str, query: dict[str, Any], named: dict[str, str]
) -> None:
    client.open(f"{path}?{urlencode(query, doseq=True)}", method=method, buffered=True)
    _, fields = logged.last()
    assert {key: fields[key] for key in named} == named
    assert ("image" in fields) == ("image" in named)
    assert "s e c" not in str(fields)
    assert [word for word in ("secret", "pass", "key", "part") if word in str(fields)] == []


def test_a_load_names_what_it_brought(client: FlaskClient, logged: Lines) -> None:
    client.post("/images/load", data=simple_layout().to_tar(), buffered=True)
    level, fields = logged.last()
    assert (level, fields["operation"], fields["image"], fields["outcome"]) == ("INFO", "load", "simple:latest", "ok")


def test_an_import_without_a_name_names_its_id(client: FlaskClient, logged: Lines) -> None:
    answer = client.post("/images/create?fromSrc=-", data=make_tar({"a": b"a"}), buffered=True)
    image = answer.get_json()["status"]
    _, fields = logged.last()
    assert (fields["operation"], fields["from"], fields["image"]) == ("import", "-", image)


@pytest.mark.usefixtures("stored")
def test_a_prune_counts_what_it_removed(client: FlaskClient, logged: Lines) -> None:
    freed = client.post('/images/prune?filters={"dangling":["0"]}', buffered=True).get_json()["SpaceReclaimed"]
    _, fields = logged.last()
    assert (fields["removed"], fields["freed"]) == ("1", str(freed))


def test_of_many_images_a_few_are_named(client: FlaskClient, logged: Lines) -> None:
    client.get("/images/get?" + "&".join(f"names=i{number}" for number in range(1000)), buffered=True)
    _, fields = logged.last()
    assert (fields["image"], fields["images"]) == ("i0,i1,i2,i3,i4,i5,i6,i7", "1000")


def test_a_load_that_fails_is_an_error(client: FlaskClient, logged: Lines) -> None:
    assert client.post("/images/load", data=b"no archive", buffered=True).status_code == 200
    level, fields = logged.last()
    assert (level, fields["status"], fields["outcome"]) == ("ERROR", "200", "failed")
    assert (fields["operation"], fields["reason"], fields["address"]) == ("load", "unexpected EOF", "127.0.0.1")


@pytest.mark.usefixtures("stored")
def test_a_push_that_fails_is_an_error(client: FlaskClient, logged: Lines) -> None:
    client.post("/images/simple/tag?repo=localhost:1/a&tag=1", buffered=True)
    client.post("/images/localhost:1/a/push?tag=1", buffered=True)
    level, fields = logged.last()
    assert (level, fields["operation"], fields["image"], fields["outcome"]) == ("ERROR", "push", "localhost:1/a:1", "failed")
    assert "connection refused" in fields["reason"]


def test_a_body_that_the_client_breaks_off_is_no_error(client: FlaskClient, logged: Lines) -> None:
    whole = simple_layout().to_tar()
    client.post("/images/load", data=whole[:2000], environ_overrides={"CONTENT_LENGTH": str(len(whole))}, buffered=True)
    level, fields = logged.last()
    assert (level, fields["outcome"], fields["reason"]) == ("INFO", "client-left", "unexpected EOF")


def test_an_import_that_the_client_breaks_off_is_no_error(client: FlaskClient, logged: Lines) -> None:
    path = "/images/create?fromSrc=-&repo=a"
    client.post(path, data=bytes(5000), environ_overrides={"CONTENT_LENGTH": "100000"}, buffered=True)
    level, fields = logged.last()
    assert (level, fields["status"], fields["outcome"]) == ("INFO", "400", "client-left")


@pytest.mark.parametrize("path", ["/images/load", "/images/create?fromSrc=-", "/stowage/images/save?names=a"])
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_what_was_read_of_a_body_is_freed_when_its_client_leaves(client: FlaskClient, logged: Lines, path: str, compression: str) -> None:
    whole = compress(make_tar({"a": bytes(5000), "b": bytes(1 << 20)}), compression)
    gc.disable()
    try:
        client.post(path, data=whole[: len(whole) // 2], environ_overrides={"CONTENT_LENGTH": str(len(whole))}, buffered=True)
        assert [each for each in gc.get_objects() if isinstance(each, TarReader | Decompressor | _Body)] == []
    finally:
        gc.enable()
    assert logged.last()[1]["outcome"] == "client-left"


def test_what_this_engine_does_not_do_is_no_error(client: FlaskClient, logged: Lines) -> None:
    assert client.post("/containers/create", json={}, buffered=True).status_code == 501
    assert logged.last()[0] == "INFO"


def test_a_broken_archive_is_an_error_though_its_client_leaves(client: FlaskClient, logged: Lines) -> None:
    client.post("/images/load", data=bytes(5000), environ_overrides={"CONTENT_LENGTH": "100000"}, buffered=True)
    level, fields = logged.last()
    assert (level, fields["outcome"], fields["reason"]) == ("ERROR", "failed", "unrecognized image format")


def test_a_failure_with_a_status_is_an_error_and_a_refusal_is_not(client: FlaskClient, logged: Lines) -> None:
    assert client.post("/images/create?fromImage=localhost:1/a&tag=1", buffered=True).status_code == 500
    level, fields = logged.last()
    assert (level, fields["image"], "connection refused" in fields["reason"]) == ("ERROR", "localhost:1/a:1", True)
    assert client.get("/images/nope/json", buffered=True).status_code == 404
    level, fields = logged.last()
    assert (level, "reason" in fields) == ("INFO", False)


def progress(error: Exception | None = None) -> ProgressStream:
    yield Progress(status="a")
    yield Progress(status="b")
    if error:
        raise error


def tar(error: Exception | None = None) -> Iterator[bytes]:
    yield b"a"
    yield b"b"
    if error:
        raise error


@pytest.mark.parametrize("stream", [lambda error: stream_progress(progress(error)), lambda error: stream_tar(tar(error))])
@pytest.mark.parametrize(
    ("error", "level", "end"),
    [
        pytest.param(None, "INFO", {"outcome": "ok"}, id="ok"),
        pytest.param(InvalidContent("bad layer"), "ERROR", {"outcome": "failed", "reason": "bad layer"}, id="failed"),
        pytest.param(KeyError("x"), "ERROR", {"outcome": "failed", "reason": "internal server error"}, id="defect"),
    ],
)
def test_a_line_has_the_outcome_of_its_stream(
    app: Flask, logged: Lines, stream: Callable[[Exception | None], Any], error: Exception | None, level: str, end: dict[str, str]
) -> None:
    app.add_url_rule("/stream", "stream", lambda: stream(error), methods=["GET"], answer=Answer())
    try:
        app.test_client().get("/stream", buffered=True)
    except ConnectionResetError:
        pass
    found, fields = logged.last()
    assert (found, {key: fields.get(key) for key in end}) == (level, end)


@pytest.mark.parametrize("stream", [lambda: stream_progress(progress()), lambda: stream_tar(tar())])
def test_a_stream_that_is_closed_before_its_end_was_left_by_its_client(app: Flask, logged: Lines, stream: Callable[[], Any]) -> None:
    app.add_url_rule("/stream", "stream", stream, methods=["GET"], answer=Answer())
    app.test_client().get("/stream").close()
    level, fields = logged.last()
    assert (level, fields["outcome"]) == ("INFO", "client-left")


def test_a_level_hides_lines_of_requests_but_not_of_failures(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "stowage")
    client.get("/_ping", buffered=True)
    client.post("/images/load", data=b"no archive", buffered=True)
    assert [record.levelname for record in caplog.records] == ["ERROR"]


@pytest.mark.parametrize("path", ["/ui/activity/transfers", "/ui/activity/events"])
def test_what_open_pages_ask_for_now_and_then_is_not_in_the_usual_log(client: FlaskClient, logged: Lines, path: str) -> None:
    assert client.get(path, buffered=True).status_code == 200
    assert logged.count == 0
    client.get("/ui/activity", buffered=True)
    assert logged.count == 1


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
