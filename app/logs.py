"""The log: one line per record, as text or as JSON, whatever clients and registries put into it.

They choose much of what is logged: paths, names, headers, error messages. A line break there would forge a record, and an escape
sequence would reach the terminal of a reader. The records themselves are therefore made safe, for every logger: ours, gunicorn's and
urllib3's. This holds for any handler and format, including those of another server that runs `wsgi:application`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import threading
import time
from contextvars import ContextVar
from typing import Any

LINE = 3900
"""Limit of characters in a message or a line of a traceback: with time, level and logger before it, a line has fewer than 4,096."""
_TRACEBACK = 1 << 15
"""Limit of characters in a traceback, which shows frames and the error's message."""

_VALUE = 500
"""Limit of characters in a value of a logfmt line. Those of one line that clients can make long are few enough to leave it uncut."""

_BARE = re.compile(rf"[!#-<>-\[\]-~]{{1,{_VALUE}}}")
"""A value that needs no quotes: printable ASCII but for the space, `"`, `=` and the backslash."""

_log = logging.getLogger("stowage")
_request_id = ContextVar("request_id", default="")


class Fields(dict[str, str | int]):
    """A message of named values: a line of logfmt, or the members of a JSON object."""

    def __str__(self) -> str:
        return logfmt(self)


class SafeRecord(logging.LogRecord):
    """A record whose message is one printable line and whose traceback is indented, so that no line of it looks like a record."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.request_id = _request_id.get()
        if self.exc_info:
            # If this text is set, formatters print it and do not format the traceback themselves.
            self.exc_text = _indented(logging.Formatter().formatException(self.exc_info))

    def getMessage(self) -> str:  # noqa: N802 - the name is logging's
        return one_line(super().getMessage())


class JsonFormatter(logging.Formatter):
    """Writes a SafeRecord as one JSON object of printable ASCII. Values keep every character; what is too long is cut as in text."""

    def format(self, record: logging.LogRecord) -> str:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        members: dict[str, object] = {"time": f"{stamp}.{record.msecs:03.0f}Z", "level": record.levelname, "logger": record.name}
        if isinstance(record.msg, Fields):
            members |= {key: value if isinstance(value, int) else _cut(value, _VALUE) for key, value in record.msg.items()}
        else:
            members["message"] = _cut(logging.LogRecord.getMessage(record), LINE)
            if request_id := getattr(record, "request_id", ""):
                members["id"] = request_id
        if record.exc_info:
            members["traceback"] = _cut(self.formatException(record.exc_info), _TRACEBACK)
        return json.dumps(members)


def name_request(request_id: str) -> None:
    """From now on, what this thread logs belongs to the request with this id, or to none if it is empty."""
    _request_id.set(request_id)


def make_records_safe() -> None:
    """Make every record that this process logs from now on a SafeRecord."""
    logging.setLogRecordFactory(SafeRecord)


def log_to_stderr(level: str = "info", style: str = "text") -> None:
    """Log one line per record, with its time, as `text` or `json`: the service's own from this level on, and libraries' from WARNING on,
    which would log secrets below it, or from ERROR on if that is the level. What Python itself would print is logged too.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING))
    _log.setLevel(number)
    logging.captureWarnings(True)
    threading.excepthook = _log_end_of_thread
    sys.unraisablehook = _log_unraisable


def logfmt(fields: dict[str, str | int]) -> str:
    """`key=value` pairs. Quoted values have the escapes of a string in Go; a long value is without its middle."""
    return " ".join(
        f"{key}={value if isinstance(value, int) or _BARE.fullmatch(value) else _quoted(value)}" for key, value in fields.items()
    )


def _quoted(value: str) -> str:
    """The value in quotes. It is cut before it is escaped, so that no escape is cut; the more escapes, the shorter."""
    for half in (_VALUE // 2, _VALUE // 4, _VALUE // 8, _VALUE // 20):
        text = escape(_cut(value, 2 * half).replace("\\", "\\\\").replace('"', '\\"'))
        if len(text) <= _VALUE + 40:
            break
    return f'"{text}"'


def _cut(text: str, most: int) -> str:
    """The text without its middle if it has more characters."""
    half = most // 2
    return text if len(text) <= most else f"{text[:half]}[cut, {len(text)} characters in all]{text[-half:]}"


def _indented(traceback: str) -> str:
    half = _TRACEBACK // 2
    if len(traceback) > _TRACEBACK:
        traceback = f"{traceback[:half]}\n[cut, {len(traceback)} characters in all]\n{traceback[-half:]}"
    return "\n".join(f"    {one_line(line)}" for line in traceback.split("\n"))


def _log_end_of_thread(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None and failure.exc_type is not SystemExit:
        _log.error("unexpected error in a thread", exc_info=failure.exc_value)


def _log_unraisable(failure: sys.UnraisableHookArgs) -> None:
    _log.error("error that could not be raised, in %r", failure.object, exc_info=failure.exc_value)


def one_line(text: str) -> str:
    """The text with unprintable characters escaped, and without its middle if it is long."""
    if len(text) <= LINE and len(escaped := escape(text)) <= LINE:
        return escaped
    half = LINE // 2
    return f"{escape(text[:half])[:half]}[cut, {len(text)} characters in all]{escape(text[-half:])[-half:]}"


def escape(text: str) -> str:
    """Escape line breaks, control characters, overrides of text direction, and surrogates as in a Python string."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)
