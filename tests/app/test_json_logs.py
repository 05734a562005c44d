"""The log as JSON: one object a line, whoever logs."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.app.logs import Fields, JsonFormatter, SafeRecord, make_records_safe, name_request


def written(message: object, *arguments: object, **options: Any) -> dict[str, Any]:
    """The object that a record becomes; its line is printable ASCII."""
    record = SafeRecord("stowage.x", logging.WARNING, __file__, 1, message, arguments, options.get("exc_info"))
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_record_has_its_time_level_logger_and_message() -> None:
    found = written("%s failed: %d", "a", 7)
    assert found["time"][10] == "T"
    assert found["time"].endswith("Z")
    assert (found["level"], found["logger"], found["message"]) == ("WARNING", "stowage.x", "a failed: 7")


def test_fields_are_members_with_their_types() -> None:
    found = written(Fields({"path": "/a b", "status": 200, "reason": 'x"=\n'}))
    assert "message" not in found
    assert (found["path"], found["status"], found["reason"]) == ("/a b", 200, 'x"=\n')


@given(st.text(max_size=50), st.integers(1, 500))
def test_any_text_is_one_bounded_line(text: str, times: int) -> None:
    found = written(Fields({"x": text * times}))
    assert len(found["x"]) <= 600
    if len(text * times) <= 500:
        assert found["x"] == text * times
    assert len(written("%s", text * times)["message"]) <= 4000


def test_a_surrogate_is_no_problem() -> None:
    assert written("\udcff")["message"] == "\udcff"


def test_a_traceback_is_a_member() -> None:
    try:
        raise KeyError("line\nbreak")
    except KeyError:
        found = written("unexpected", exc_info=sys.exc_info())
    assert found["traceback"].startswith("Traceback (most recent call last):\n")
    assert 'raise KeyError("line\\nbreak")' in found["traceback"]


def test_a_fields_line_in_text_is_logfmt() -> None:
    record = SafeRecord("stowage.x", logging.INFO, __file__, 1, Fields({"a": "b c", "d": 1}), (), None)
    assert record.getMessage() == 'a="b c" d=1'


@pytest.fixture
def caught() -> Iterator[io.StringIO]:
    factory = logging.getLogRecordFactory()
    make_records_safe()
    stream, logger = io.StringIO(), logging.getLogger("stowage.x")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)
    logging.setLogRecordFactory(factory)


def test_what_is_logged_during_a_request_has_its_id(caught: io.StringIO) -> None:
    log = logging.getLogger("stowage.x")
    name_request("")  # an answer that a test before this one did not close may have left its id
    log.error("before")
    name_request("abc")
    log.error("within")
    name_request("")
    log.error("after")
    assert [json.loads(line).get("id") for line in caught.getvalue().splitlines()] == [None, "abc", None]


SCRIPT = """
import logging, threading, warnings
from gunicorn.config import Config
from stowage.app.logs import log_to_stderr, make_records_safe
from stowage.app.server.json_logger import JsonLogger

make_records_safe()
log_to_stderr("info", "json")
JsonLogger(Config()).error("of gunicorn")
logging.getLogger("stowage").info("ours")
warnings.warn("a warning")
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
"""


def test_every_line_of_a_process_is_an_object() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    found = [json.loads(line) for line in done.stderr.splitlines()]
    assert [each["logger"] for each in found] == ["gunicorn.error", "stowage", "py.warnings", "stowage"]
    assert "ZeroDivisionError" in found[-1]["traceback"]
