"""nginx's own log of the shipped site: nothing in it forges a line or reaches the terminal of its reader."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conformance.conftest import Service
from tests.conformance.front import fronted
from tests.conformance.test_edges import CLOSE, head, parse
from tests.ports import free_port

ESCAPE = "\x1b[31mFORGED"
UNPRINTABLE = re.compile(rb"[^\n -~]")
BAD_CHUNK = head("POST", "/images/load", CLOSE, "Transfer-Encoding: chunked", f"Referer: http://x/{ESCAPE}") + b"zz\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(BAD_CHUNK, 400, id="a chunk without a size"),
        pytest.param(head("GET", "/a\x9b31m", CLOSE, f"Referer: http://x/{ESCAPE}"), 502, id="no service"),
        pytest.param(head("GET", "/a", CLOSE, host=ESCAPE), 400, id="a host that cannot be read"),
        pytest.param(f"GET /{ESCAPE} HTTP/1.1\r\n\r\n".encode(), 400, id="a request line that cannot be read"),
    ],
)
def test_no_escape_sequence_of_a_client_reaches_a_log(tmp_path: Path, request_: bytes, status: int) -> None:
    service = Service(tmp_path / "stowage", free_port())
    service.start()
    folder = tmp_path / "nginx"
    folder.mkdir()
    with fronted(service, folder) as front:
        service.stop()
        assert parse(front.exchange(request_))[0] == status
    logs = {path.name: path.read_bytes() for path in folder.glob("*.log")}
    assert logs.keys() >= {"stowage.log", "stowage-error.log"}
    assert [name for name, content in logs.items() if UNPRINTABLE.search(content)] == []
