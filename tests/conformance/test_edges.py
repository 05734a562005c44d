"""Requests at the edges of HTTP, byte for byte over a socket, and what a real service answers.

Each row is what moby's main branch answers; where Go's server is more lenient than gunicorn, gunicorn's refusal stands, since a request
that two servers may read differently is how one is smuggled past the other (docs/compatibility.md).
"""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Service
from tests.ports import free_port

LINK = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
PREFETCH = LINK | {"sec-fetch-site": "none", "sec-purpose": "prefetch;prerender"}
CLOSE = "Connection: close"
FORM = "Content-Type: application/x-www-form-urlencoded"
NOT_FOUND = "page not found"
TOO_OLD = "client version {} is too old. Minimum supported API version is 1.24, please upgrade your client to a newer version\n"
TOO_NEW = "client version {} is too new. Maximum supported API version is 1.56"
BAD_NAME = "invalid reference format"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("edges") / "stowage", free_port())
    service.start()
    yield service
    service.stop()


def head(method: str, target: str, *headers: str, host: str = "localhost", version: str = "1.1") -> bytes:
    lines = [f"{method} {target} HTTP/{version}", f"Host: {host}", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def exchange(service: Service, request: bytes) -> bytes:
    """Everything that comes back until the service closes the connection."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def parse(answer: bytes) -> tuple[int, dict[str, str], bytes]:
    """Status, headers by lower-case name, and the rest."""
    top, _, rest = answer.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers, rest


def message_of(body: bytes) -> str:
    """The sentence of an error: JSON, or plain text."""
    return str(json.loads(body)["message"]) if body.startswith(b"{") else body.decode()


@pytest.mark.parametrize(
    ("request_", "status", "message"),
    [
        pytest.param(head("GET", "/nope", CLOSE), 404, NOT_FOUND, id="unknown path"),
        pytest.param(head("GET", "/", CLOSE), 404, NOT_FOUND, id="root"),
        pytest.param(head("GET", "/images", CLOSE), 404, NOT_FOUND, id="folder"),
        pytest.param(head("GET", "/images/json/", CLOSE), 404, NOT_FOUND, id="trailing slash"),
        pytest.param(head("GET", "/_ping/", CLOSE), 404, NOT_FOUND, id="trailing slash on ping"),
        pytest.param(head("POST", "/images/json", CLOSE), 404, NOT_FOUND, id="wrong method"),
        pytest.param(head("PUT", "/images/load", CLOSE), 404, NOT_FOUND, id="PUT load"),
        pytest.param(head("GET", "/images/load", CLOSE), 404, NOT_FOUND, id="GET load"),
        pytest.param(head("PATCH", "/_ping", CLOSE), 404, NOT_FOUND, id="PATCH ping"),
        pytest.param(head("FOO", "/_ping", CLOSE), 404, NOT_FOUND, id="unheard of method"),
        pytest.param(head("GET", "/v1.45", CLOSE), 404, NOT_FOUND, id="version alone"),
        pytest.param(head("GET", "/v1.45/", CLOSE), 404, NOT_FOUND, id="version and slash"),
        pytest.param(head("GET", "/v1.45/nope", CLOSE), 404, NOT_FOUND, id="version and unknown path"),
        pytest.param(head("GET", "/v1.23/nope", CLOSE), 404, NOT_FOUND, id="unknown path wins over old version"),
        pytest.param(head("GET", "/v9.99/nope", CLOSE), 404, NOT_FOUND, id="unknown path wins over new version"),
        pytest.param(head("GET", "/vX/_ping", CLOSE), 404, NOT_FOUND, id="no version"),
        pytest.param(head("GET", "/v1.45/v1.45/_ping", CLOSE), 404, NOT_FOUND, id="version twice"),
        pytest.param(head("GET", "/v1.23/_ping", CLOSE), 400, TOO_OLD.format("1.23"), id="too old"),
        pytest.param(head("GET", "/v1/_ping", CLOSE), 400, TOO_OLD.format("1"), id="major alone"),
        pytest.param(head("GET", "/v./_ping", CLOSE), 400, TOO_OLD.format("."), id="dot alone"),
        pytest.param(head("OPTIONS", "/v1.23/x", CLOSE), 400, TOO_OLD.format("1.23"), id="OPTIONS too old"),
        pytest.param(head("GET", "/v9.99/_ping", CLOSE), 400, TOO_NEW.format("9.99"), id="too new"),
        pytest.param(head("GET", "/v1.57/_ping", CLOSE), 400, TOO_NEW.format("1.57"), id="next version"),
        pytest.param(head("GET", f"/v{'9' * 5000}/_ping", CLOSE), 400, TOO_NEW.format("9" * 5000), id="version of 5000 digits"),
        pytest.param(
            head("POST", "/v1.24/images/prune", CLOSE), 400, "POST /images/prune requires minimum API version 1.25", id="route's minimum"
        ),
        pytest.param(head("GET", "/images/%zz/json", CLOSE), 400, "400 Bad Request", id="bad escape in path"),
        pytest.param(head("GET", "/images/json?all=%zz", CLOSE), 400, 'invalid URL escape "%zz"', id="bad escape in query"),
        pytest.param(head("GET", "/images/json?all=%z", CLOSE), 400, 'invalid URL escape "%z"', id="short escape in query"),
        pytest.param(head("GET", "/images/json?%=1", CLOSE), 400, 'invalid URL escape "%"', id="bad escape in key"),
        pytest.param(head("GET", "/images/json?a=1;b=2", CLOSE), 400, "invalid semicolon separator in query", id="semicolon"),
        pytest.param(head("GET", "/images/a%20b/json", CLOSE), 400, BAD_NAME, id="space in name"),
        pytest.param(head("GET", "/images/a+b/json", CLOSE), 400, BAD_NAME, id="plus is no space in a path"),
        pytest.param(head("GET", "/images/a%00b/json", CLOSE), 400, BAD_NAME, id="NUL in name"),
        pytest.param(head("GET", "/images/%C3%A9/json", CLOSE), 400, BAD_NAME, id="name beyond ASCII"),
        pytest.param(head("GET", "/images/a%0ab/json", CLOSE), 404, NOT_FOUND, id="newline in name"),
        pytest.param(head("GET", "/images/a/b/c:d/json", CLOSE), 404, "No such image: a/b/c:d", id="name with slashes"),
        pytest.param(head("GET", "/images/a%2Fb/json", CLOSE), 404, "No such image: a/b:latest", id="name with escaped slash"),
        pytest.param(head("GET", "/images/json/json", CLOSE), 404, "No such image: json:latest", id="image named like a route"),
        pytest.param(head("GET", "/images/a/json/json", CLOSE), 404, "No such image: a/json:latest", id="name ending like a route"),
        pytest.param(head("DELETE", "/images/", CLOSE), 400, "image name cannot be blank", id="empty name"),
        pytest.param(head("DELETE", "/images/%20", CLOSE), 400, "image name cannot be blank", id="blank name"),
        pytest.param(head("DELETE", "/images/nope/", CLOSE), 400, BAD_NAME, id="name with trailing slash"),
        pytest.param(
            b"GET /_ping HTTP/1.1\r\nConnection: close\r\n\r\n", 400, "400 Bad Request: missing required Host header", id="no host"
        ),
        pytest.param(
            head("POST", "/images/prune", CLOSE, FORM, "Content-Length: 11") + b"filters=%zz",
            400,
            'invalid URL escape "%zz"',
            id="bad form",
        ),
        pytest.param(
            head("POST", "/images/prune?filters=%7B%7D", CLOSE, FORM, "Content-Length: 9") + b"filters=x",
            400,
            "invalid filter",
            id="form before query",
        ),
        pytest.param(
            head("POST", "/images/prune", CLOSE, f"{FORM}; charset=utf-8", "Content-Length: 9") + b"filters=x",
            400,
            "invalid filter",
            id="form with charset",
        ),
        pytest.param(
            head("POST", "/images/prune", CLOSE, FORM, "Transfer-Encoding: chunked") + b"9\r\nfilters=x\r\n0\r\n\r\n",
            400,
            "invalid filter",
            id="chunked form",
        ),
        pytest.param(
            head("POST", "/images/prune", CLOSE, FORM, f"Content-Length: {11 << 20}") + b"a" * (11 << 20),
            400,
            "http: POST too large",
            id="form over 10 MiB",
        ),
    ],
)
def test_a_wrong_request_is_told_so_in_the_words_of_moby(running: Service, request_: bytes, status: int, message: str) -> None:
    answered, _, body = parse(exchange(running, request_))
    assert (answered, message_of(body)) == (status, message.rstrip("\n") if body.startswith(b"{") else message)


@pytest.mark.parametrize(
    ("request_", "body"),
    [
        pytest.param(head("GET", "/_ping", CLOSE), b"OK", id="ping"),
        pytest.param(head("GET", "/v1.24/_ping", CLOSE), b"OK", id="oldest version"),
        pytest.param(head("GET", "/v1.56/_ping", CLOSE), b"OK", id="newest version"),
        pytest.param(head("GET", "/v1.45.9/_ping", CLOSE), b"OK", id="version of three numbers"),
        pytest.param(head("HEAD", "/_ping", CLOSE), b"", id="HEAD ping"),
        pytest.param(head("HEAD", "/v1.45/_ping", CLOSE), b"", id="HEAD ping of a version"),
        pytest.param(head("GET", "/_ping?x=%zz", CLOSE), b"OK", id="ping reads no query"),
        pytest.param(head("GET", "/_ping", version="1.0"), b"OK", id="HTTP/1.0"),
        pytest.param(head("GET", "http://localhost/_ping", CLOSE), b"OK", id="absolute target"),
        pytest.param(head("GET", "/_ping", CLOSE, "X-Registry-Auth: " + "a" * 60000), b"OK", id="long header"),
        pytest.param(head("OPTIONS", "/images/json", CLOSE), b"", id="OPTIONS"),
        pytest.param(head("OPTIONS", "/", CLOSE), b"", id="OPTIONS root"),
        pytest.param(head("OPTIONS", "/vX/nope", CLOSE), b"", id="OPTIONS anywhere"),
        pytest.param(head("GET", "/images/json", CLOSE), b"[]\n", id="list"),
        pytest.param(head("GET", "/images%2fjson", CLOSE), b"[]\n", id="escaped slash in a route"),
        pytest.param(head("GET", "/images/json?&&all=1&", CLOSE), b"[]\n", id="empty pairs"),
        pytest.param(head("GET", "/images/json?a=1%3Bb", CLOSE), b"[]\n", id="escaped semicolon"),
        pytest.param(head("GET", "/images/json?x=" + "a" * 100000, CLOSE), b"[]\n", id="long query"),
        pytest.param(head("GET", "/images/json", CLOSE, FORM, "Content-Length: 9") + b"filters=x", b"[]\n", id="a GET has no form"),
        pytest.param(head("GET", "/containers/json", CLOSE), b"[]\n", id="no containers"),
        pytest.param(head("POST", "/images/prune", CLOSE), b'{"ImagesDeleted":null,"SpaceReclaimed":0}\n', id="POST without body"),
        pytest.param(
            head("POST", "/images/prune", CLOSE, "Transfer-Encoding: chunked") + b"0\r\n\r\n",
            b'{"ImagesDeleted":null,"SpaceReclaimed":0}\n',
            id="empty chunked body",
        ),
        pytest.param(
            head("POST", "/images/prune", CLOSE, "Content-Length: 9") + b"filters=x",
            b'{"ImagesDeleted":null,"SpaceReclaimed":0}\n',
            id="a body without a type is no form",
        ),
        pytest.param(
            head("POST", "/images/prune", CLOSE, "Content-Type: a/b/c;;", "Content-Length: 9") + b"filters=x",
            b'{"ImagesDeleted":null,"SpaceReclaimed":0}\n',
            id="a body of a broken type is no form",
        ),
        pytest.param(
            head("POST", "/images/prune", CLOSE, "Content-Type: multipart/form-data; boundary=x", "Content-Length: 9") + b"filters=x",
            b'{"ImagesDeleted":null,"SpaceReclaimed":0}\n',
            id="multipart is no form",
        ),
    ],
)
def test_an_odd_request_is_served(running: Service, request_: bytes, body: bytes) -> None:
    status, headers, answered = parse(exchange(running, request_))
    assert (status, answered) == (200, body)
    assert headers["api-version"] == "1.56"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        pytest.param("//images/json?all=1", "/images/json?all=1", id="slashes in front"),
        pytest.param("/images//json", "/images/json", id="slashes inside"),
        pytest.param("/images/a//b/json", "/images/a/b/json", id="slashes in a name"),
        pytest.param("/images/../_ping", "/_ping", id="dots"),
        pytest.param("/images/%2e%2e/_ping", "/_ping", id="escaped dots"),
        pytest.param("/../../etc//", "/etc/", id="above the root"),
        pytest.param("//images/a%20b/json?x=%20y", "/images/a%20b/json?x=%20y", id="escapes stay"),
    ],
)
def test_a_path_that_is_not_clean_is_redirected(running: Service, target: str, location: str) -> None:
    status, headers, _ = parse(exchange(running, head("GET", target, CLOSE)))
    assert (status, headers["location"]) == (301, location)


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(b"GET /_ping HTTP/1.1\nHost: x\n\n", id="bare LF"),
        pytest.param(b"GET /_ping\r\n\r\n", id="HTTP/0.9"),
        pytest.param(head("GET", "/_ping", version="2.0"), id="HTTP/2 in HTTP/1 clothes"),
        pytest.param(head("get", "/_ping"), id="lower-case method"),
        pytest.param(head("GET", "/_ping", "Host: other"), id="two hosts"),
        pytest.param(head("POST", "/images/prune", "Content-Length: x"), id="length that is no number"),
        pytest.param(head("POST", "/images/prune", "Content-Length: 0", "Content-Length: 3") + b"abc", id="two lengths"),
        pytest.param(
            head("POST", "/images/prune", "Content-Length: 3", "Transfer-Encoding: chunked") + b"0\r\n\r\n", id="length and chunks"
        ),
        pytest.param(head("POST", "/images/prune", "Transfer-Encoding: identity"), id="unknown coding"),
    ],
)
def test_a_request_that_may_be_read_two_ways_is_refused_and_the_connection_closed(running: Service, request_: bytes) -> None:
    answer = exchange(running, request_ + head("GET", "/_ping", CLOSE))
    assert parse(answer)[0] == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_ping_has_the_headers_of_docker(running: Service) -> None:
    _, headers, _ = parse(exchange(running, head("GET", "/_ping", CLOSE)))
    expected = {
        "api-version": "1.56",
        "cache-control": "no-cache, no-store, must-revalidate",
        "content-type": "text/plain; charset=utf-8",
        "docker-experimental": "false",
        "ostype": "linux",
        "pragma": "no-cache",
        "server": "Docker/0.1.0 (linux)",
        "swarm": "inactive",
    }
    assert {name: headers[name] for name in expected} == expected


def test_requests_in_one_segment_are_answered_in_order(running: Service) -> None:
    answer = exchange(running, head("GET", "/_ping") + head("GET", "/nope") + head("GET", "/v1.45/_ping", CLOSE))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"200", b"404", b"200"]


def test_the_connection_goes_on_after_an_error_whose_small_body_nobody_read(running: Service) -> None:
    answer = exchange(running, head("POST", "/nope", "Content-Length: 9") + b"filters=x" + head("GET", "/_ping", CLOSE))
    assert (answer.count(b"404 Not Found"), answer.count(b"200 OK")) == (1, 1)


def test_an_early_error_reaches_a_client_that_is_still_uploading(running: Service) -> None:
    body = b"x" * (4 << 20)
    assert parse(exchange(running, head("POST", "/nope", CLOSE, f"Content-Length: {len(body)}") + body))[0] == 404


def test_a_client_that_waits_is_told_to_continue(running: Service) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(head("POST", "/images/prune", CLOSE, FORM, "Expect: 100-continue", "Content-Length: 9"))
        assert connection.recv(1 << 16) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"filters=x")
        assert b"invalid filter" in b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(head("POST", "/images/load", "Content-Length: 1000") + b"x" * 600, id="body ends before its length"),
        pytest.param(head("POST", "/images/load", "Transfer-Encoding: chunked") + b"ff\r\nabc", id="body ends within a chunk"),
        pytest.param(head("POST", "/images/load", "Transfer-Encoding: chunked") + b"3\r\nabc\r\n", id="body ends without its last chunk"),
        pytest.param(head("POST", "/images/load", "Transfer-Encoding: chunked") + b"zz\r\nabc\r\n", id="broken chunk"),
    ],
)
def test_a_broken_upload_is_an_error_line_and_the_connection_is_closed(running: Service, request_: bytes) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(request_)
        connection.shutdown(socket.SHUT_WR)
        status, _, body = parse(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    assert (status, b'"errorDetail"' in body) == (200, True)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"0\r\n" + b"a: b\r\n" * 20_000, "unexpected EOF", id="trailers"),
        pytest.param(b"1\r\n\0\r\n" * 20_000, "the request's body comes in chunks of less than 64 bytes on average", id="tiny chunks"),
    ],
)
def test_what_costs_far_more_than_it_carries_is_refused_before_its_end(running: Service, body: bytes, words: str) -> None:
    with socket.create_connection(("127.0.0.1", running.port), timeout=20) as connection:
        connection.sendall(head("POST", "/images/create?fromSrc=-", "Transfer-Encoding: chunked") + body)
        assert words in parse(b"".join(iter(lambda: connection.recv(1 << 16), b"")))[2].decode()


@pytest.mark.parametrize("size", [pytest.param(512, id="blocks of a tar"), pytest.param(240, id="what Go's gzip writes at a time")])
def test_an_upload_may_come_in_small_chunks(running: Service, size: int) -> None:
    chunk = b"%x\r\n" % size + bytes(size) + b"\r\n"
    upload = head("POST", "/images/create?fromSrc=-", "Transfer-Encoding: chunked", CLOSE) + chunk * 64_000 + b"0\r\n\r\n"
    status, _, body = parse(exchange(running, upload))
    assert (status, b"sha256:" in body) == (200, True)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        pytest.param({"host": "localhost:2375"}, 200, id="localhost"),
        pytest.param({"host": "127.0.0.1"}, 200, id="loopback"),
        pytest.param({"host": "[::1]:2375"}, 200, id="IPv6 loopback"),
        pytest.param({"host": "evil.example"}, 403, id="foreign host"),
        pytest.param({"host": "localhost.evil.example"}, 403, id="host that begins like ours"),
        pytest.param({"host": "192.0.2.1"}, 200, id="any address"),
        pytest.param({"host": "localhost", "origin": "http://evil.example"}, 403, id="foreign origin"),
        pytest.param({"host": "localhost", "origin": "null"}, 403, id="opaque origin"),
        pytest.param({"host": "localhost", "origin": "http://localhost:8080"}, 403, id="page of another service"),
        pytest.param({"host": "localhost:8080", "origin": "http://localhost:8080"}, 200, id="own origin"),
        pytest.param({"host": "a.localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403, id="fetch"),
        pytest.param({"host": "localhost", "sec-fetch-site": "same-site", "sec-fetch-dest": "image"}, 403, id="picture"),
        pytest.param({"host": "localhost", "sec-fetch-site": "same-origin", "sec-fetch-dest": "style"}, 200, id="own style"),
        pytest.param({"host": "localhost", "sec-fetch-site": "none"}, 200, id="typed address"),
        pytest.param(
            {"host": "localhost", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403, id="frame"
        ),
        pytest.param({"host": "localhost", **LINK}, 403, id="link"),
    ],
)
def test_a_web_page_cannot_reach_a_tcp_address(running: Service, headers: dict[str, str], status: int) -> None:
    host, *others = headers.items()
    assert parse(exchange(running, head("GET", "/_ping", CLOSE, *map(": ".join, others), host=host[1])))[0] == status


@pytest.mark.parametrize(
    ("path", "status"), [("/ui/", 200), ("/v1.45/../ui/images", 301), ("/images/absent/get", 403), ("/events", 403), ("/stowage/disk", 403)]
)
@pytest.mark.parametrize("headers", [pytest.param(LINK, id="link"), pytest.param(PREFETCH, id="speculation rules")])
def test_another_site_leads_only_to_the_page(running: Service, path: str, status: int, headers: dict[str, str]) -> None:
    """A script can follow links too, and the answer to a long request would be a download that waits."""
    assert parse(exchange(running, head("GET", path, CLOSE, *map(": ".join, headers.items()))))[0] == status


def test_a_client_may_be_bound_to_any_name(running: Service) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.bind(b"\0\xff" + str(running.port).encode())
        connection.connect(str(running.socket))
        connection.sendall(head("GET", "/_ping", CLOSE))
        assert parse(connection.recv(1 << 16))[0] == 200


def test_a_unix_socket_takes_any_host_and_belongs_to_its_user_alone(running: Service) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.socket))
        connection.sendall(head("GET", "/_ping", CLOSE, host="api.moby.localhost"))
        assert parse(b"".join(iter(lambda: connection.recv(1 << 16), b"")))[0] == 200
    assert running.socket.stat().st_mode & 0o777 == 0o600


def test_the_log_has_a_line_for_each_request_without_its_secrets(running: Service) -> None:
    exchange(running, head("GET", "/images/json?token=SECRET", CLOSE, "X-Registry-Auth: SECRET"))
    log = running.log.read_text()
    assert "method=GET path=/images/json status=200" in log
    assert "SECRET" not in log
