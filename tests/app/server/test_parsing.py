"""When a head can be parsed or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stowage.app.server.parsing import Head
from stowage.app.server.serving import Server, _adjust_gunicorn
from stowage.app.settings import Config


@pytest.fixture(scope="module")
def cfg() -> Any:
    _adjust_gunicorn()
    return Server(Config.from_environ({"STOWAGE_ROOT": str(Path("unused").absolute())})).cfg


def pieces_needed(cfg: object, *pieces: bytes) -> int:
    """After how many pieces gunicorn can decide; 0 where it cannot after all of them."""
    head = Head(cfg)
    return next((number for number, piece in enumerate(pieces, 1) if head.feed(piece)), 0)


@pytest.mark.parametrize(
    "content", [b"GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\nGET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.0\r\n\r\n"]
)
def test_a_head_is_whole_with_its_last_byte_however_it_is_cut(cfg: object, content: bytes) -> None:
    assert pieces_needed(cfg, *(bytes([byte]) for byte in content)) == len(content)
    assert pieces_needed(cfg, content) == 1
    for at in range(1, len(content)):
        assert pieces_needed(cfg, content[:at], content[at:]) == 2, at


@pytest.mark.parametrize(
    ("pieces", "needed"),
    [
        pytest.param([b"GET / HTTP/1.1x\r", b"\nHost: x\r\n"], 2, id="beyond the version"),
        pytest.param([b"\r\nGET /_ping\r\n"], 1, id="no version, behind an empty line"),
        pytest.param([b"GET / HTTP/2.0\r\n"], 1, id="version"),
        pytest.param([b"\r", b"\n\r", b"\n"], 3, id="two empty lines"),
        pytest.param([b"GET / HTTP/1.1\n"], 1, id="bare LF after the request line"),
        pytest.param([b"GET / HTTP/1.1\r\nHost: x", b"\n"], 2, id="bare LF after a field"),
        pytest.param([b"GET / HTTP/1.1\r\n", b"\n"], 2, id="bare LF in place of the empty line"),
        pytest.param([b"GET /" + b"a" * (1 << 20), b"a"], 1, id="request line over its limit"),
        pytest.param([b"GET /" + b"a" * 1_048_500, b"a" * 80], 2, id="request line that grows over its limit"),
        pytest.param([b"GET /" + b"a" * 1_048_500, b"a"], 0, id="request line within its limit"),
        pytest.param([b"GET / HTTP/1.1\r\n", *[b"a" * (1 << 20)] * 7], 8, id="fields over their limit"),
        pytest.param([b"GET / HTTP/1.1\r\n", *[b"a" * (1 << 20)] * 6], 0, id="fields within their limit"),
        pytest.param([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"], 0, id="a beginning of TLS"),
    ],
)
def test_what_gunicorn_refuses_goes_to_it_at_once(cfg: object, pieces: list[bytes], needed: int) -> None:
    assert pieces_needed(cfg, *pieces) == needed


@pytest.mark.parametrize("end", [b"\r\n", b""])
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_of_more_lines_than_a_head_may_have_gunicorn_sees_only_the_first(cfg: Any, end: bytes, size: int) -> None:
    """It makes a string of each before it counts them."""
    content = b"GET / HTTP/1.1\r\n" + b"a:\r\n" * 100_000 + end + b"body"
    head = Head(cfg)
    assert any(head.feed(content[start : start + size]) for start in range(0, len(content), size))
    assert bytes(head.content) == b"GET / HTTP/1.1\r\n" + b"\r\n".join([b"a:"] * cfg.limit_request_fields)


@pytest.mark.parametrize("before", [b"", b"\r\n"])
def test_a_head_may_have_as_many_lines_as_fields_are_allowed(cfg: Any, before: bytes) -> None:
    content = before + b"GET / HTTP/1.1\r\n" + b"a:\r\n" * cfg.limit_request_fields + b"\r\n"
    head = Head(cfg)
    assert head.feed(content + b"\r\n" * 1000)
    assert bytes(head.content) == content + b"\r\n" * 1000
