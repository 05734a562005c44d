"""Which requests are quick: those for which nobody but this service decides how long they take.

Quick requests have threads that no others take, so a request that could hold one for long must not count as quick: none that waits for a
client (a body, a stream) or for another machine (a registry). So what is not listed here is not quick.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from gunicorn.util import split_request_uri
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from blueprints.versioning import split_version

QUICK = frozenset(
    {
        "image_attestations.image_attestations",
        "image_delete.image_delete",
        "image_history.image_history",
        "image_inspect.image_inspect",
        "image_list.image_list",
        "image_tag.image_tag",
        "system_absent.system_absent",
        "system_df.system_df",
        "system_info.system_info",
        "system_openapi.system_openapi",
        "system_options.system_options",
        "system_ping.system_ping",
        "system_version.system_version",
    }
)
"""Endpoints whose answers are made from the store alone, at once."""

_BODY = re.compile(rb"\r\n(?:transfer-encoding|content-length:(?![ \t]*0+[ \t]*\r\n))", re.IGNORECASE)


class Routes:
    """The routes of an application, of which some are quick."""

    def __init__(self, url_map: Map) -> None:
        self._routes = url_map.bind("")

    def is_quick(self, head: bytes) -> bool:
        """Whether a request is quick; `head` is the whole of it, with or without what follows, or as much as gunicorn needs to refuse it."""
        line, _, _ = head.lstrip(b"\r\n").partition(b"\r\n")
        head = head.partition(b"\r\n\r\n")[0] + b"\r\n"
        try:
            method, target, _ = line.decode("latin-1").split(" ", 2)
            path = split_request_uri(target).path
        except ValueError:
            return True
        return _BODY.search(head) is None and self._endpoint(method, path) in QUICK

    def _endpoint(self, method: str, path: str) -> str | None:
        """The endpoint of a path as a request line has it; None where there is none, and where the client will be redirected."""
        try:
            endpoint, _ = self._routes.match(split_version(unquote(path))[1], method)
        except HTTPException:
            return None
        return str(endpoint)
