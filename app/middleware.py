"""WSGI middlewares for every request: the health address, the guard against web pages, Go's path cleaning; and Docker's headers."""

from __future__ import annotations

import posixpath
import re
import socket
from collections.abc import Collection, Iterable
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
from flask import Flask, Response, request

from stowage.app.origin import is_known_host, is_own_origin
from stowage.blueprints.rendering.answer import HTML, PAGE_HEADERS, render_refusal
from stowage.blueprints.routing import JSON, PROBES, is_own, is_page
from stowage.blueprints.versioning import MAX_API_VERSION, split_version

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MOBY_HEADERS = [("Api-Version", str(MAX_API_VERSION)), ("Docker-Experimental", "false"), ("Ostype", "linux")]
_TEXT = "text/plain; charset=utf-8"
_HOSTS = 64
"""How many answers about Host headers are kept."""
_SCHEMES = ("http", "https")
_PLAIN_TCP = ("http",)
_PROBE_METHODS = ("GET", "HEAD")
_NOT_HERE = b'{"message":"page not found"}\n'
_FOREIGN_SITES = ("cross-site", "same-site")
"""Values of Sec-Fetch-Site, which browsers send to services on this machine and over TLS: https://www.w3.org/TR/fetch-metadata/."""
_FOREIGN_ORIGIN = "the Origin header is of a foreign web page; STOWAGE_HOSTS lists the hosts whose pages may use this service"
_FOREIGN_PAGE = "the Sec-Fetch-Site or Sec-Purpose header says that a foreign web page may have sent this request"
_FOREIGN_HOST = "the Host header does not name this service; STOWAGE_HOSTS lists further names of it"


def register_headers(app: Flask) -> None:
    """Add the headers of moby's version and experimental middlewares to the answer of every matched request, and the page's own headers to
    what is under its path.

    Every status line gets the phrase that Go writes, since docker-py shows it to users.
    """

    @app.after_request
    def add_headers(response: Response) -> Response:
        if response.status_code != HTTPStatus.OK:
            response.status = f"{response.status_code} {HTTPStatus(response.status_code).phrase}"
        if is_page(request.path):
            response.headers.update(PAGE_HEADERS)
        elif request.url_rule is not None:
            response.headers.extend(_MOBY_HEADERS)
        return response


class HealthAddress:
    """Serves probes and metrics at the health address to anyone who can reach it, and nothing else. Other requests go to the application.

    The worker marks requests that arrive there: their connection has `is_health`. They bypass the checks of hosts and peers and go straight
    to the `routes`, but only a few paths are served.
    """

    def __init__(self, application: WSGIApplication, routes: WSGIApplication) -> None:
        self._application, self._routes = application, routes

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not getattr(environ.get("gunicorn.socket"), "is_health", False):
            return self._application(environ, start_response)
        if environ["PATH_INFO"] in PROBES and environ["REQUEST_METHOD"] in _PROBE_METHODS:
            return self._routes(environ, start_response)
        return answer_plainly(environ, start_response, "404 Not Found", _NOT_HERE)


class HostGuard:
    """Refuses requests that a foreign web page makes a browser send: a foreign Origin on any transport, a foreign Host over plain TCP, and
    what has no Origin but a foreign Sec-Fetch-Site, such as a picture, or a Sec-Purpose, such as a prefetched link. A link to the page is
    not refused: a script can follow links, too, but no answer of the page is a stream that waits for its reader.

    After DNS rebinding, a page has this service's address as its own. Its Origin then equals its Host, and only the Host gives it away.
    Over TLS there can be no such page, since no certificate of this service has its name. On a unix socket the Host is not checked for
    Docker's clients: the proxy or tunnel in front of it knows under which names it is reached, and this service does not. Our own paths are
    for browsers and scripts, so there it is checked on every transport. Under the path of the page, if there is one, the refusal is HTML.
    """

    def __init__(self, application: WSGIApplication, bound: Collection[str], named: Collection[str], *, has_page: bool = True) -> None:
        self._application, self._named, self._has_page = application, named, has_page
        known = {*(host.lower() for host in bound), *named}
        self._is_known = lru_cache(_HOSTS)(lambda header: is_known_host(header, known))

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        schemes, host, origin = _schemes(environ), environ.get("HTTP_HOST", ""), environ.get("HTTP_ORIGIN")
        if origin is not None and not is_own_origin(origin, host, schemes, self._named):
            return self._refuse(environ, start_response, _FOREIGN_ORIGIN)
        if origin is None and _may_be_foreign(environ) and not _is_link(environ):
            return self._refuse(environ, start_response, _FOREIGN_PAGE)
        if not self._is_known(host) and (schemes == _PLAIN_TCP or is_own(clean_path(split_version(environ["PATH_INFO"])[1]))):
            return self._refuse(environ, start_response, _FOREIGN_HOST)
        return self._application(environ, start_response)

    def _refuse(self, environ: WSGIEnvironment, start_response: StartResponse, message: str) -> Iterable[bytes]:
        if self._has_page and is_page(clean_path(environ["PATH_INFO"])):
            return answer_plainly(environ, start_response, "403 Forbidden", render_refusal(message), HTML, PAGE_HEADERS.items())
        body = orjson.dumps({"message": message}, option=orjson.OPT_APPEND_NEWLINE)
        return answer_plainly(environ, start_response, "403 Forbidden", body)


class GoServer:
    """Does what Go's HTTP server and gorilla/mux do before routing: answers 400 to a bad %-escape in the path and to HTTP/1.1 without
    a Host, and redirects a path that is not clean."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if _BAD_ESCAPE.search(environ.get("RAW_URI", "").partition("?")[0]):
            return answer_plainly(environ, start_response, "400 Bad Request", b"400 Bad Request", _TEXT)
        if environ["SERVER_PROTOCOL"] == "HTTP/1.1" and "HTTP_HOST" not in environ:
            return answer_plainly(environ, start_response, "400 Bad Request", b"400 Bad Request: missing required Host header", _TEXT)
        cleaned = clean_path(path)
        if cleaned != path:
            query = environ.get("QUERY_STRING", "")
            location = quote(cleaned, safe="/:@!$&'()*+,;=~", encoding="latin-1") + ("?" + query if query else "")
            start_response("301 Moved Permanently", [("Location", location), ("Content-Length", "0")])
            return [b""]
        return self._application(environ, start_response)


def _may_be_foreign(environ: WSGIEnvironment) -> bool:
    """Whether a browser says so. What a page has it prefetch or prerender (by speculation rules) comes from no site, as a typed address."""
    return environ.get("HTTP_SEC_FETCH_SITE") in _FOREIGN_SITES or "HTTP_SEC_PURPOSE" in environ


def _is_link(environ: WSGIEnvironment) -> bool:
    """Whether a browser shows the answer, which is of our page, as a page of its own."""
    mode, target = environ.get("HTTP_SEC_FETCH_MODE"), environ.get("HTTP_SEC_FETCH_DEST")
    return mode == "navigate" and target == "document" and is_page(clean_path(environ["PATH_INFO"]))


def clean_path(path: str) -> str:
    """The shortest equivalent path, with a trailing slash kept: gorilla/mux cleanPath."""
    cleaned = posixpath.normpath("/" + path.lstrip("/"))
    return cleaned + "/" if path.endswith("/") and cleaned != "/" else cleaned


def _schemes(environ: WSGIEnvironment) -> tuple[str, ...]:
    """The schemes that a page of this service can have. On a unix socket a proxy may speak TLS with the browser: there it is the one in the
    proxy's X-Forwarded-Proto, and both without that header.

    Elsewhere the header, which a page can send after DNS rebinding, is not trusted, and neither is wsgi.url_scheme, which servers take from
    it. A connection that is not known to be anything else counts as plain TCP, where most is checked.
    """
    if is_unix_socket(environ):
        return tuple(scheme for scheme in _SCHEMES if environ.get("HTTP_X_FORWARDED_PROTO", scheme) == scheme) or _SCHEMES
    return ("https",) if hasattr(environ.get("gunicorn.socket"), "getpeercert") else _PLAIN_TCP


def is_unix_socket(environ: WSGIEnvironment) -> bool:
    """Whether the client uses a unix socket. gunicorn exposes the connection. With other servers REMOTE_ADDR is empty: accept() returns
    an empty address for a peer on a unix socket, while every peer on TCP has one.
    """
    connection = environ.get("gunicorn.socket")
    return environ.get("REMOTE_ADDR") == "" if connection is None else connection.family == socket.AF_UNIX


def answer_plainly(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: str,
    body: bytes,
    content_type: str = JSON,
    headers: Iterable[tuple[str, str]] = (),
) -> list[bytes]:
    """Answer with this body; a HEAD gets the same headers and no body, about which servers would complain in their logs."""
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body))), *headers])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]
