"""Streams: progress as JSON lines, tars, and endless live streams.

A stream's first item that is not a tick is taken before the response starts, so that an error before it becomes a status. A later error
ends progress with an error line, and a tar by cutting the connection: nothing but tar ever follows tar bytes.

A line ends with CR LF and has the shape of moby's api/types/jsonstream Message. Every client gets the text `error` beside `errorDetail`.
None gets the text `progress`, since moby's main branch sends it in no version. Source: moby daemon/internal/streamformatter.
"""

from __future__ import annotations

import errno
import logging
import select
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import cast

import orjson
from flask import Response, current_app, request

from stowage.blueprints.client import Client, client_cutter, client_name, own_places, watched_client, while_wanted
from stowage.blueprints.log_entry import CLIENT_LEFT, ENDED, OK, LogEntry, log_entry
from stowage.blueprints.routing import JSON, TAR, Answer
from stowage.blueprints.schemas.json_schema import BOOLEAN, ERROR, INTEGER, TEXT, component, record
from stowage.services.errors import EngineError, Unavailable
from stowage.services.meter import PartCounts
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.system.transfers import Running, Transfers
from stowage.services.transfer.parallel import with_totals

LISTENERS = "stowage.listeners"
"""Key of the application's extensions: places for the live streams of the process."""
TRANSFERS = "stowage.transfers"
"""Key of the application's extensions: its Transfers."""
SERVING = "stowage.serving"
"""Key of the application's extensions: a callable that returns whether the process is to continue serving."""

_DETAIL = record({}, {"current": INTEGER, "total": INTEGER, "hidecounts": BOOLEAN, "units": TEXT, "rate": INTEGER, "left": INTEGER})
PROGRESS_LINE = {"minProperties": 1} | record(
    {},
    {
        "stream": TEXT,
        "status": TEXT,
        "progressDetail": _DETAIL,
        "id": TEXT,
        "aux": {"type": "object"},
        "error": TEXT,
        "errorDetail": ERROR,
    },
)
PROGRESS = Answer(component("ProgressLine"), stream=True)
"""The answer of a route that streams its progress."""
ARCHIVE = Answer({"type": "string", "format": "binary"}, {TAR: {}})
"""The answer of a route that sends a tar."""

_WATCH_SECONDS = 0.25
_POLL_SECONDS = 0.15
_log = logging.getLogger(__name__)


def stream_progress(
    progress: ProgressStream, *, operation: str = "", reads_body: bool = False, errors_in_stream: bool = False, totals: bool = False
) -> Response:
    """Answer 200 with a JSON line per item; with `errors_in_stream` an error before the first item is a line too.

    An item with nothing set is a tick. It writes nothing, and is only a chance to notice that the client has disconnected, which ends the
    stream and closes the progress. If the progress reads the request's body, a client that has only closed its side has sent everything
    and still waits for the answer. On a unix socket such a client differs from one that has disconnected. On TCP the two look the same
    until something is written. With `errors_in_stream`, where the status is known, the head of the answer is sent then: if the client has
    disconnected, the connection breaks.

    The log has the operation, its images and its outcome. While it runs it is one of the service's transfers, and ends with an error if
    somebody ends it there. With `totals` it has lines about the whole operation as well.
    """
    with ExitStack() as running:
        entry = running.enter_context(_running(operation, request.content_length if reads_body else None))
        if totals and entry.tally:
            progress = with_totals(progress, entry.tally.parts)
        client = watched_client(select.POLLHUP if reads_body else select.POLLRDHUP)
        try:
            first = _first(progress, client, entry, answers_early=errors_in_stream)
        except EngineError as exc:
            if not errors_in_stream:
                raise
            entry.fail(exc, str(exc))
            return Response(_error_line(str(exc)), content_type=JSON)
        entry.end(CLIENT_LEFT)  # unless the stream comes to its end
        return _closing(Response(_lines(first, progress, client, entry), content_type=JSON), progress, running)


def stream_tar(chunks: Iterator[bytes], *, operation: str = "") -> Response:
    """Answer 200 with a tar; an exception between chunks cuts the connection, and the log has the reason."""
    return stream_bytes(chunks, TAR, operation=operation)


def stream_bytes(chunks: Iterator[bytes], content_type: str, *, operation: str = "") -> Response:
    """The same for any content that is useless without its end. What comes before the first chunk ends when the client leaves, if it checks
    its operation.
    """
    with ExitStack() as running:
        entry = running.enter_context(_running(operation))
        first = while_wanted(lambda: next(chunks, b""))
        entry.end(CLIENT_LEFT)
        return _closing(Response(_whole(first, chunks, entry), content_type=content_type), chunks, running)


def stream_live(pieces: Iterator[bytes], content_type: str) -> Response:
    """Answer 200 with the pieces as they come; the headers are sent before there is one.

    An empty piece means that there are no more now; another is requested a little later. The stream ends with the pieces, or when the
    client has disconnected or the process is stopping. Raises Unavailable if every place for listeners that this client may have is taken:
    the other threads are for other requests.
    """
    places = own_places(LISTENERS)
    if not places.try_take(1):
        raise Unavailable("too many clients are listening for events already: try again when one of them has disconnected")
    with ExitStack() as place:
        place.callback(places.give_back, 1)
        body = _live(next(pieces, None), pieces, watched_client(), current_app.extensions[SERVING])
        response = Response(body, content_type=content_type)
        response.call_on_close(place.pop_all().close)
    return response


@contextmanager
def _running(operation: str, length: int | None = None) -> Iterator[LogEntry]:
    """The entry of a stream. While the context is open the stream is one of the transfers, if it is an operation."""
    entry = log_entry()
    entry.operation = operation
    if not operation:
        yield entry
        return
    entry.running = running = Running(
        operation,
        entry.tally.parts if entry.tally else PartCounts(),
        names=entry.images,
        count=lambda: entry.count,
        received=lambda: entry.received,
        length=length,
        registry=entry.registry,
        client=client_name(),
        cut=client_cutter(),
    )
    transfers = cast("Transfers", current_app.extensions[TRANSFERS])
    try:
        with transfers.running(running):
            yield entry
    finally:
        if running.is_ended and entry.fields.get("outcome") == CLIENT_LEFT:  # it waited for its client and was cut
            entry.end(ENDED)


def _whole(first: bytes, chunks: Iterator[bytes], entry: LogEntry) -> Iterator[bytes]:
    """The chunks. After an error it raises what servers take for a broken connection, which they close without a word."""
    try:
        yield first
        for chunk in chunks:
            entry.check()
            yield chunk
    except Exception as exc:
        entry.fail(exc, _reason(exc))
        raise ConnectionResetError(errno.ECONNRESET, "the answer has no end") from exc
    entry.end(OK)


def _reason(error: Exception) -> str:
    """What may be said of an error in a stream; a defect is logged with its traceback."""
    if isinstance(error, EngineError):
        return str(error)
    _log.error("unexpected error in a stream", exc_info=error)
    return "internal server error"


def _live(piece: bytes | None, pieces: Iterator[bytes], client: Client | None, is_serving: Callable[[], bool]) -> Iterator[bytes]:
    while piece is not None:
        yield piece
        if not piece and (not is_serving() or _leaves(client)):
            return
        piece = next(pieces, None)


def _leaves(client: Client | None) -> bool:
    """Wait a little, and return whether the client has disconnected."""
    if client is not None:
        return client.is_gone(_POLL_SECONDS)
    time.sleep(_POLL_SECONDS)
    return False


def _closing(response: Response, stream: Iterator[object], running: ExitStack) -> Response:
    """Close the generator with the response, even if not one byte of it was sent, and then what is open while it runs."""
    if isinstance(stream, Generator):
        running.callback(stream.close)
    response.call_on_close(running.pop_all().close)
    return response


def _first(progress: ProgressStream, client: Client | None, entry: LogEntry, *, answers_early: bool) -> Progress | None:
    """The first item that is not a tick, or None if there is none or the client has disconnected before it. A tick if the answer begins
    without an item.
    """
    while (item := next(progress, None)) == Progress():
        entry.check()
        if client is not None:
            if client.is_gone():
                return None
            if answers_early and client.has_closed_its_side():
                return item
    return item


def _lines(first: Progress | None, progress: ProgressStream, client: Client | None, entry: LogEntry) -> Iterator[bytes]:
    """Every item as a line; ends early and silently when the client has disconnected. A tick at the beginning sends only the head."""
    looked = time.monotonic()
    item = first
    if item == Progress():
        yield b""
    if item is None and client is not None and client.is_gone():
        return
    while item is not None:
        if item.image:
            entry.add_image(item.image)
        line = _line(item)
        if line:
            yield line
        if client is not None and time.monotonic() - looked >= _WATCH_SECONDS:
            if client.is_gone():
                return
            looked = time.monotonic()
        try:
            entry.check()
            item = next(progress, None)
        except Exception as exc:  # noqa: BLE001 - the status has been sent, so the stream must report it
            reason = _reason(exc)
            entry.fail(exc, reason)
            yield _error_line(reason)
            return
    entry.end(OK)


def _line(item: Progress) -> bytes:
    """One message, with its keys in the order of moby's struct; empty for a tick."""
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
    fields = {
        "current": detail.current,
        "total": detail.total,
        "hidecounts": detail.hide_counts,
        "units": detail.units,
        "rate": detail.rate,
        "left": detail.left,
    }
    return {key: value for key, value in fields.items() if value}


def _error_line(message: str) -> bytes:
    return orjson.dumps({"error": message, "errorDetail": {"message": message}}) + b"\r\n"
