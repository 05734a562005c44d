"""A v1 index in this process: what `docker search` asks, with faults by name.

Every request is kept in `requests`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_registry.server import Handler, Request, serving


class IndexFault(StrEnum):
    """What an index can do wrong."""

    BROKEN = "500 with a page"
    UNAUTHORIZED = "401 with a basic challenge"
    ABSENT = "404, as from a registry that has no index"
    HTML = "200 with a page"
    WRONG_TYPES = "stars that are a text"
    NULL = "no results, written null"
    NO_DOCUMENT = "null"
    EMPTY = "an object without results"
    TRUNCATED = "half of the document, and a length that says so"
    DROPPED = "half of the document, then the connection is gone"
    NOTHING = "200 without a body"
    TWO_DOCUMENTS = "a page behind the document"
    SPACES = "spaces behind the document, more than any index has to say"
    OVERSIZED = "more than any index has to say"
    REDIRECTED = "302 to `redirect_to`"
    HANGS_UP = "no answer"
    GIVEN = "200 with `content`"


@dataclass
class FakeIndex:
    """One index; it answers every term with `results`, the first `n` of them."""

    results: list[dict[str, Any]] = field(default_factory=list)
    fault: IndexFault | None = None
    content: bytes = b""
    tls: bool = False
    redirect_to: str = ""
    requests: list[Request] = field(default_factory=list)
    host: str = ""

    @property
    def base(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}"

    @property
    def searches(self) -> list[Request]:
        return [request for request in self.requests if request.path.endswith("/search")]

    @contextmanager
    def serve(self) -> Iterator[FakeIndex]:
        with serving(_Handler, index=self, tls=self.tls) as self.host:
            yield self


class _Handler(Handler, BaseHTTPRequestHandler):
    index: FakeIndex

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query, keep_blank_values=True)
        self.index.requests.append(Request(self.command, url.path, query, dict(self.headers.items())))
        if url.path.endswith("/_ping"):
            self._send(200, b"true", _JSON)
        elif not url.path.endswith("/v1/search"):
            self._send(404, b"404 page not found\n", {"Content-Type": "text/plain"})
        else:
            self._search(query["q"][0], int(query["n"][0]))

    def _search(self, term: str, limit: int) -> None:
        found = self.index.results[:limit]
        document = {"num_pages": 1, "num_results": len(found), "page": 1, "page_size": limit, "query": term, "results": found}
        content = json.dumps(document).encode()
        match self.index.fault:
            case None:
                self._send(200, content, _JSON)
            case IndexFault.TRUNCATED:
                self._send(200, content[: len(content) // 2], _JSON)
            case IndexFault.DROPPED:
                self._send(200, content[: len(content) // 2], _JSON, missing=len(content) // 2)
            case IndexFault.TWO_DOCUMENTS:
                self._send(200, content + b"<html>oops</html>", _JSON)
            case IndexFault.SPACES:
                self._send(200, content + b" " * (9 << 20), _JSON)
            case IndexFault.OVERSIZED:
                self._send(200, content[:-1] + b" " * (9 << 20) + b"}", _JSON)
            case IndexFault.GIVEN:
                self._send(200, self.index.content, _JSON)
            case IndexFault.REDIRECTED:
                self._send(302, b"", {"Location": self.index.redirect_to + self.path})
            case IndexFault.HANGS_UP:
                self.close_connection = True
            case fault:
                self._send(*_ANSWERS[fault])

    def _send(self, status: int, body: bytes, headers: dict[str, str], *, missing: int = 0) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) + missing))
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = self.close_connection or missing > 0


_JSON = {"Content-Type": "application/json"}
_ANSWERS: dict[IndexFault, tuple[int, bytes, dict[str, str]]] = {
    IndexFault.BROKEN: (500, b"<html>oops</html>", {"Content-Type": "text/html"}),
    IndexFault.UNAUTHORIZED: (401, b"", {"WWW-Authenticate": 'Basic realm="index"'}),
    IndexFault.ABSENT: (404, b"404 page not found\n", {"Content-Type": "text/plain"}),
    IndexFault.HTML: (200, b"<html>Please log in</html>", {"Content-Type": "text/html"}),
    IndexFault.WRONG_TYPES: (200, b'{"results": [{"name": "a", "star_count": "many"}]}', _JSON),
    IndexFault.NULL: (200, b'{"results": null}', _JSON),
    IndexFault.NO_DOCUMENT: (200, b"null", _JSON),
    IndexFault.EMPTY: (200, b"{}", _JSON),
    IndexFault.NOTHING: (200, b"", _JSON),
}
