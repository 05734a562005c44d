"""The answer of a middleware that does not pass a request on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from stowage.blueprints.routing import JSON

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


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
