"""No record of any logger forges another, whichever handler writes it, as text or as JSON."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.app.logs import Fields, JsonFormatter, SafeRecord, logfmt, make_records_safe, name_request, one_line

FORGED = "2026-01-01 00:00:00,000 ERROR app forged"


@pytest.fixture(autouse=True)
def _same_process_state() -> Iterator[None]:
    """The record factory is set back."""
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a handler that somebody else made writes of a library's logger."""
    make_records_safe()
    stream, logger = io.StringIO(), logging.getLogger("urllib3")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    yield stream
    logger.removeHandler(handler)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("\n", id="LF"),
        pytest.param("\r", id="CR"),
        pytest.param("\t", id="tab"),
        pytest.param("\0", id="NUL"),
        pytest.param("\x0b", id="VT"),
        pytest.param("\x1b", id="ESC"),
        pytest.param("\x7f", id="DEL"),
        pytest.param("\x85", id="NEL"),
        pytest.param("\x9b", id="CSI"),
        pytest.param("\u2028", id="line separator"),
        pytest.param("\u2029", id="paragraph separator"),
        pytest.param("\u202e", id="right-to-left override"),
        pytest.param("\u2066", id="isolate"),
        pytest.param("\u200f", id="right-to-left mark"),
        pytest.param("\ufeff", id="byte order mark"),
        pytest.param("\udcff", id="surrogate"),
        pytest.param("\U000e0041", id="tag"),
    ],
)
def test_what_is_not_printable_is_an_escape(text: str) -> None:
    assert one_line(f"a{text}b") == f"a{text.encode('unicode_escape').decode()}b"


def test_printable_text_stays_in_every_script() -> None:
    assert one_line(r"GET /a%20b \n ü 漢字 'x': 1") == r"GET /a%20b \n ü 漢字 'x': 1"


@given(st.text(max_size=50), st.integers(1, 500))
def test_any_text_is_one_bounded_printable_line(text: str, times: int) -> None:
    line = one_line(text * times)
    assert line.isprintable()
    assert len(line) <= 4000


def test_a_long_line_keeps_both_ends() -> None:
    line = one_line("path=" + "\n" * 300_000 + " status=503")
    assert (line[:9], line[-13:]) == (r"path=\n\n", r"\n status=503")
    assert "[cut, 300016 characters in all]" in line


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param(12, "12", id="number"),
        pytest.param("localhost:5000/a/b:1", "localhost:5000/a/b:1", id="bare"),
        pytest.param("", '""', id="nothing"),
        pytest.param("a b", '"a b"', id="space"),
        pytest.param("a=b", '"a=b"', id="equals sign"),
        pytest.param('a"b', r'"a\"b"', id="quote"),
        pytest.param("a\\b", r'"a\\b"', id="backslash"),
        pytest.param("a\nb\x1b", r'"a\nb\x1b"', id="control characters"),
        pytest.param("ü", '"ü"', id="beyond ASCII"),
    ],
)
def test_a_value_is_quoted_where_logfmt_needs_it(value: str | int, written: str) -> None:
    assert logfmt({"a": value, "b": 1}) == f"a={written} b=1"


@given(st.text(max_size=50), st.integers(1, 50))
def test_any_value_is_bounded_and_leaves_its_line_as_it_is(text: str, times: int) -> None:
    line = logfmt(dict.fromkeys("abcdef", text * times))
    assert one_line(line) == line
    assert re.fullmatch(r'([a-f]=([^ "=\\]+|"([^"\\]|\\.)*") ?){6}', line)


def test_a_library_writes_one_line_to_a_handler_of_anybody(written: io.StringIO) -> None:
    logging.getLogger("urllib3").warning("sent %s", f"x\r\n{FORGED}\x1b[31m")
    assert written.getvalue() == rf"WARNING sent x\r\n{FORGED}\x1b[31m" + "\n"


def test_a_traceback_keeps_its_lines_and_none_looks_like_a_record(written: io.StringIO) -> None:
    try:
        raise ValueError(f"first\n{FORGED}\x1b[31m\r{FORGED}")
    except ValueError:
        logging.getLogger("urllib3").exception("failed")
    first, *rest = written.getvalue().removesuffix("\n").split("\n")
    assert (first, rest[0]) == ("ERROR failed", "    Traceback (most recent call last):")
    assert rest[-2:] == ["    ValueError: first", rf"    {FORGED}\x1b[31m\r{FORGED}"]
    assert [line for line in rest if not line.startswith("    ")] == []


def test_a_traceback_is_bounded_and_keeps_both_ends(written: io.StringIO) -> None:
    try:
        raise ValueError("\n" * 1_000_000 + "x" * 10_000 + "\nthe end")
    except ValueError:
        logging.getLogger("urllib3").exception("failed")
    lines = written.getvalue().split("\n")
    assert lines[1] == "    Traceback (most recent call last):"
    assert lines[-2] == "    the end"
    assert max(map(len, lines)) <= 4096
    assert len(written.getvalue()) < 200_000


def test_what_python_prints_by_itself_is_logged_too() -> None:
    """Errors at the end of a thread and of a collected object, and warnings; in a process of its own, since the hooks are the process's."""
    script = f"""
import threading, warnings
from stowage.app.logs import log_to_stderr, make_records_safe

class Unclosable:
    def __del__(self):
        fail()

def fail():
    raise ValueError({"from a registry" + chr(10) + FORGED!r})

make_records_safe()
log_to_stderr()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
Unclosable()
warnings.warn({"of a registry" + chr(10) + FORGED!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    records = [line for line in done.stderr.removesuffix("\n").split("\n") if not line.startswith("    ")]
    assert [record.split()[2:4] for record in records] == [["ERROR", "stowage"], ["ERROR", "stowage"], ["WARNING", "py.warnings"]]
    assert done.stderr.count(f"\n    {FORGED}\n") == 2


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["stowage DEBUG", "stowage INFO", "stowage WARNING", "stowage ERROR", "urllib3 WARNING", "urllib3 ERROR"]),
        ("info", ["stowage INFO", "stowage WARNING", "stowage ERROR", "urllib3 WARNING", "urllib3 ERROR"]),
        ("warning", ["stowage WARNING", "stowage ERROR", "urllib3 WARNING", "urllib3 ERROR"]),
        ("error", ["stowage ERROR", "urllib3 ERROR"]),
    ],
)
def test_a_level_counts_for_all_loggers_and_libraries_never_debug(level: str, shown: list[str]) -> None:
    script = f"""
import logging
from stowage.app.logs import log_to_stderr
log_to_stderr({level!r})
for name in ("stowage", "urllib3"):
    for each in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger(name).log(each, "%s %s", name, logging.getLevelName(each))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert [" ".join(line.split()[-2:]) for line in done.stderr.splitlines()] == shown


def as_json(message: object, *arguments: object, **options: Any) -> dict[str, Any]:
    """The object that a record becomes; its line is printable ASCII."""
    record = SafeRecord("stowage.x", logging.WARNING, __file__, 1, message, arguments, options.get("exc_info"))
    line = JsonFormatter().format(record)
    assert line.isascii()
    assert line.isprintable()
    parsed: dict[str, Any] = json.loads(line)
    return parsed


def test_a_record_has_its_time_level_logger_and_message() -> None:
    found = as_json("%s failed: %d", "a", 7)
    assert found["time"][10] == "T"
    assert found["time"].endswith("Z")
    assert (found["level"], found["logger"], found["message"]) == ("WARNING", "stowage.x", "a failed: 7")


def test_fields_are_members_with_their_types() -> None:
    found = as_json(Fields({"path": "/a b", "status": 200, "reason": 'x"=\n'}))
    assert "message" not in found
    assert (found["path"], found["status"], found["reason"]) == ("/a b", 200, 'x"=\n')


@given(st.text(max_size=50), st.integers(1, 500))
def test_any_text_is_one_bounded_line(text: str, times: int) -> None:
    found = as_json(Fields({"x": text * times}))
    assert len(found["x"]) <= 600
    if len(text * times) <= 500:
        assert found["x"] == text * times
    assert len(as_json("%s", text * times)["message"]) <= 4000


def test_a_surrogate_is_no_problem() -> None:
    assert as_json("\udcff")["message"] == "\udcff"


def test_a_traceback_is_a_member() -> None:
    try:
        raise KeyError("line\nbreak")
    except KeyError:
        found = as_json("unexpected", exc_info=sys.exc_info())
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
