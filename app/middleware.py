"""Around every request, as WSGI: the request log, the guard of TCP addresses, paths as Go cleans them; around views: Docker's headers."""

from __future__ import annotations

import ipaddress
import logging
import posixpath
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from flask import Flask, Response, request

from blueprints.routing import check_version
from blueprints.versioning import MAX_API_VERSION

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_log = logging.getLogger("stowage.request")
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def register_headers(app: Flask) -> None:
    """Check the version of every matched request and give its answer the headers of moby's version and experimental middlewares.

    Every status line gets the phrase that Go writes, since docker-py shows it to people.
    """

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.status = f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
        if request.url_rule is not None:
            response.headers["Api-Version"] = str(MAX_API_VERSION)
            response.headers["Docker-Experimental"] = "false"
            response.headers["Ostype"] = "linux"
        return response

    app.before_request(check_version)


class RequestLog:
    """One line to the log per request, when its response ends: never the query, headers or bodies, which may hold secrets."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        began, status = time.monotonic(), ["-"]

        def noting_start(line: str, headers: list[tuple[str, str]], exc_info: object = None) -> Callable[[bytes], object]:
            status[0] = line[:3]
            return start_response(line, headers, exc_info)  # type: ignore[arg-type]

        def finish(size: int) -> None:
            milliseconds = round((time.monotonic() - began) * 1000)
            path = environ.get("RAW_URI", quote(environ["PATH_INFO"], encoding="latin-1")).partition("?")[0]
            method = environ["REQUEST_METHOD"]
            _log.info("method=%s path=%s status=%s bytes=%d ms=%d", method, path, status[0], size, milliseconds)

        return _Counted(self._application(environ, noting_start), finish)


class _Counted(Iterator[bytes]):
    """A response body that tells its size when it is closed."""

    def __init__(self, body: Iterable[bytes], finish: Callable[[int], None]) -> None:
        self._body, self._chunks, self._finish, self._size = body, iter(body), finish, 0

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self._size += len(chunk)
        return chunk

    def close(self) -> None:
        close = getattr(self._body, "close", None)
        try:
            if close is not None:
                close()
        finally:
            self._finish(self._size)


class HostGuard:
    """Refuses on TCP what a web page could have sent: a Host or Origin that is not this service (DNS rebinding, cross-site requests).

    Loopback names and the bound hosts are this service. Where all addresses are bound its names are unknown, and only Origin is checked.
    """

    def __init__(self, application: WSGIApplication, bound: Iterable[str]) -> None:
        self._application = application
        self._bound = frozenset(bound)
        self._any_host = any(_is_unspecified(host) for host in self._bound)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _over_tcp(environ) and not self._is_trusted(environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")):
            return _plain(start_response, "403 Forbidden", b'{"message":"Host or Origin header is not allowed"}\n', "application/json")
        return self._application(environ, start_response)

    def _is_trusted(self, host: str, origin: str | None) -> bool:
        if origin is not None and not self._is_own(urlsplit(origin).hostname or ""):
            return False
        return self._any_host or not host or self._is_own(_hostname(host))

    def _is_own(self, name: str) -> bool:
        return name in self._bound or name == "localhost" or _is_loopback(name)


class GoServer:
    """What Go's HTTP server and gorilla/mux do before a route: 400 for a bad %-escape in the path and for HTTP/1.1 without a Host,
    a redirect for a path that is not clean."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if _BAD_ESCAPE.search(environ.get("RAW_URI", "").partition("?")[0]):
            return _plain(start_response, "400 Bad Request", b"400 Bad Request", "text/plain; charset=utf-8")
        if environ["SERVER_PROTOCOL"] == "HTTP/1.1" and "HTTP_HOST" not in environ:
            return _plain(start_response, "400 Bad Request", b"400 Bad Request: missing required Host header", "text/plain; charset=utf-8")
        cleaned = clean_path(path)
        if cleaned != path:
            query = environ.get("QUERY_STRING", "")
            location = quote(cleaned, safe="/:@!$&'()*+,;=~", encoding="latin-1") + ("?" + query if query else "")
            start_response("301 Moved Permanently", [("Location", location), ("Content-Length", "0")])
            return [b""]
        return self._application(environ, start_response)


def clean_path(path: str) -> str:
    """The shortest equal path, a trailing slash kept: gorilla/mux cleanPath."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def _plain(start_response: StartResponse, status: str, body: bytes, content_type: str) -> list[bytes]:
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def _over_tcp(environ: WSGIEnvironment) -> bool:
    connection = environ.get("gunicorn.socket")
    return connection is not None and connection.family != socket.AF_UNIX


def _hostname(host: str) -> str:
    """The name in a Host header, without its port."""
    return urlsplit("//" + host).hostname or ""


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_unspecified(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_unspecified
    except ValueError:
        return False
