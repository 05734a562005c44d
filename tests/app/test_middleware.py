"""Paths as gorilla/mux cleans them, and what the guard makes of each transport, under any server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from wsgiref.util import setup_testing_defaults

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Response

from stowage.app.middleware import HostGuard, clean_path


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/a/", "/a/"),
        ("//a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/..", "/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("a", "/a"),
        ("/a/.", "/a"),
    ],
)
def test_a_path_is_cleaned(path: str, cleaned: str) -> None:
    assert clean_path(path) == cleaned


@given(st.text(alphabet="/.ab"))
def test_a_clean_path_stays(path: str) -> None:
    assert clean_path(clean_path(path)) == clean_path(path)


@pytest.fixture
def unix() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as connection:
        yield connection


@pytest.fixture
def tcp() -> Iterator[socket.socket]:
    with socket.socket() as connection:
        yield connection


@pytest.fixture
def tls(tcp: socket.socket) -> Iterator[socket.socket]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with context.wrap_socket(tcp, do_handshake_on_connect=False, server_hostname="localhost") as connection:
        yield connection


def status_of(environ: Mapping[str, object], host: str | None, origin: str | None = None) -> str:
    """What the guard of a service that is bound to `Bound.Example` and known as engine.example answers; 200 is the application's."""
    request: dict[str, object] = {}
    setup_testing_defaults(request)
    del request["HTTP_HOST"]
    request |= {"HTTP_HOST": host} if host is not None else {}
    request |= {"HTTP_ORIGIN": origin} if origin is not None else {}
    guard = HostGuard(Response(status=HTTPStatus.OK), ["Bound.Example", "0.0.0.0"], ["engine.example"])
    _, status, _ = run_wsgi_app(guard, {**request, **environ})
    return status[:3]


@pytest.mark.parametrize(
    ("host", "status"), [("evil.example", "403"), ("bound.example:1", "200"), ("engine.example", "200"), ("", "200"), (None, "200")]
)
def test_a_foreign_host_is_refused_over_plain_tcp(tcp: socket.socket, host: str | None, status: str) -> None:
    assert status_of({"gunicorn.socket": tcp}, host) == status


def test_any_host_is_served_over_tls_and_on_a_unix_socket(unix: socket.socket, tls: socket.socket) -> None:
    assert {status_of({"gunicorn.socket": connection}, "evil.example") for connection in (unix, tls)} == {"200"}


@pytest.mark.parametrize("path", ["/ui", "/ui/", "//ui/images", "/x/../ui/", "/stowage/disk", "/v1.45/stowage/disk"])
def test_our_own_paths_check_the_host_on_every_transport(unix: socket.socket, tls: socket.socket, tcp: socket.socket, path: str) -> None:
    connections = (unix, tls, tcp)
    assert {status_of({"gunicorn.socket": each, "PATH_INFO": path}, "evil.example") for each in connections} == {"403"}
    for known in ("engine.example", "localhost:8080", "192.0.2.1", "docker"):
        assert {status_of({"gunicorn.socket": each, "PATH_INFO": path}, known) for each in connections} == {"200"}


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        pytest.param({"REMOTE_ADDR": "127.0.0.1"}, "403", id="an address"),
        pytest.param(
            {"REMOTE_ADDR": "127.0.0.1", "wsgi.url_scheme": "https"}, "403", id="an address and a scheme that a page may have sent"
        ),
        pytest.param({}, "403", id="nothing known"),
        pytest.param({"REMOTE_ADDR": ""}, "200", id="no address"),
    ],
)
def test_another_server_has_a_unix_socket_only_where_the_peer_has_no_address(environ: dict[str, object], status: str) -> None:
    assert status_of(environ, "evil.example") == status


def test_a_foreign_page_is_refused_on_every_transport(unix: socket.socket, tcp: socket.socket) -> None:
    for environ in ({"gunicorn.socket": unix}, {"gunicorn.socket": tcp}, {"REMOTE_ADDR": ""}, {"REMOTE_ADDR": "127.0.0.1"}):
        assert status_of(environ, "localhost:2375", "http://localhost:8080") == "403"
        assert status_of(environ, "localhost:2375", "http://bound.example:2375") == "403"
        assert status_of(environ, "localhost:2375", "http://localhost:2375") == "200"
        assert status_of(environ, "localhost:2375", "https://engine.example") == "200"


@pytest.mark.parametrize(
    ("forwarded", "own"),
    [("http", ["http"]), ("https", ["https"]), ("", ["http", "https"]), ("https, http", ["http", "https"]), ("wss", ["http", "https"])],
)
def test_behind_a_proxy_on_a_unix_socket_the_scheme_is_the_one_it_names(unix: socket.socket, forwarded: str, own: list[str]) -> None:
    environ = {"gunicorn.socket": unix, "HTTP_X_FORWARDED_PROTO": forwarded}
    assert [scheme for scheme in ("http", "https") if status_of(environ, "h", f"{scheme}://h") == "200"] == own


def test_the_scheme_of_an_own_page_is_that_of_the_transport(
    unix: socket.socket, tcp: socket.socket, request: pytest.FixtureRequest
) -> None:
    assert status_of({"gunicorn.socket": unix}, "h", "https://h") == "200"
    assert status_of({"gunicorn.socket": tcp}, "h", "https://h") == "403"
    claim = {"gunicorn.socket": tcp, "HTTP_X_FORWARDED_PROTO": "https", "wsgi.url_scheme": "https"}
    assert status_of(claim, "h", "https://h") == "403"
    tls = request.getfixturevalue("tls")
    assert status_of({"gunicorn.socket": tls}, "h:443", "https://h") == "200"
    assert status_of({"gunicorn.socket": tls}, "h:443", "http://h:443") == "403"
