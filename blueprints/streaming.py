"""Streams: progress as JSON lines, and tars.

A stream's first item is taken before the response starts, so that an error before it becomes a status. After it, progress ends with an
error line, and a tar ends with a connection that is cut: nothing that is not tar ever follows tar bytes.

A line ends with CR LF and has the shape of moby's api/types/jsonstream Message. The text `error` beside `errorDetail` goes to every
client; the text `progress` to none, since moby's main branch sends it at no version. Source: moby daemon/internal/streamformatter.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Generator, Iterator

import orjson
from flask import Response, request

from services.errors import EngineError
from services.progress import Detail, Progress, ProgressStream

_WATCH_SECONDS = 0.25
_log = logging.getLogger(__name__)


def stream_progress(progress: ProgressStream, *, errors_in_stream: bool = False) -> Response:
    """Answer 200 with a JSON line per item; with `errors_in_stream` an error before the first item is a line too.

    An item with nothing set is a tick: it writes nothing and only gives a chance to see that the client has gone, which ends the stream
    and closes the progress.
    """
    try:
        first = next(progress, None)
    except EngineError as exc:
        if not errors_in_stream:
            raise
        return Response(_error_line(str(exc)), content_type="application/json")
    response = Response(_lines(first, progress, _watched_socket()), content_type="application/json")
    return _closing(response, progress)


def stream_tar(chunks: Iterator[bytes]) -> Response:
    """Answer 200 with a tar; an exception between chunks cuts the connection."""
    first = next(chunks, b"")
    return _closing(Response(_prepend(first, chunks), content_type="application/x-tar"), chunks)


def _closing(response: Response, stream: Iterator[object]) -> Response:
    """Close the generator with the response, even when not one byte of it was sent."""
    if isinstance(stream, Generator):
        response.call_on_close(stream.close)
    return response


def _prepend(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def _lines(first: Progress | None, progress: ProgressStream, client: int | None) -> Iterator[bytes]:
    """Every item as a line; ends early, without a word, when the client has gone."""
    looked = time.monotonic()
    item = first
    while item is not None:
        line = _line(item)
        if line:
            yield line
        if client is not None and time.monotonic() - looked >= _WATCH_SECONDS:
            if _is_gone(client):
                return
            looked = time.monotonic()
        try:
            item = next(progress, None)
        except EngineError as exc:
            yield _error_line(str(exc))
            return
        except Exception:  # noqa: BLE001 - the status is out already, so the stream must say it
            _log.exception("unexpected error in a stream")
            yield _error_line("internal server error")
            return


def _line(item: Progress) -> bytes:
    """One message in the order of moby's struct; empty for a tick."""
    message: dict[str, object] = {}
    if item.stream:
        message["stream"] = item.stream
    if item.status:
        message["status"] = item.status
    if item.detail is not None:
        message["progressDetail"] = _detail(item.detail)
    if item.id:
        message["id"] = item.id
    if item.aux is not None:
        message["aux"] = item.aux
    return orjson.dumps(message) + b"\r\n" if message else b""


def _detail(detail: Detail) -> dict[str, object]:
    fields = {"current": detail.current, "total": detail.total, "hidecounts": detail.hide_counts, "units": detail.units}
    return {key: value for key, value in fields.items() if value}


def _error_line(message: str) -> bytes:
    return orjson.dumps({"error": message, "errorDetail": {"message": message}}) + b"\r\n"


def _watched_socket() -> int | None:
    """The connection's descriptor where the server gives it and the request has no body; an uploading client is noticed by reading."""
    connection = request.environ.get("gunicorn.socket")
    has_body = request.content_length or "Transfer-Encoding" in request.headers
    return None if connection is None or has_body else int(connection.fileno())


def _is_gone(client: int) -> bool:
    """Whether the peer closed its side; looks without reading, so it is right for TLS and pipelined requests as well."""
    poll = select.poll()
    poll.register(client, select.POLLRDHUP)
    return bool(poll.poll(0))
