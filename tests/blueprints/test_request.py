"""What views take from requests."""

from __future__ import annotations

import base64
import io
import socket
from collections.abc import Callable
from typing import Any, BinaryIO

import pytest
from flask import Flask
from marshmallow import fields

from stowage.blueprints.request import body_stream, load_query, meta_headers, registry_auth
from stowage.blueprints.request import engine as current_engine
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, InvalidParameter

FORM = "application/x-www-form-urlencoded"


class Query(QuerySchema):
    one = fields.String(data_key="One")
    many = fields.List(fields.String(), data_key="Many", load_default=())


def loaded(app: Flask, **request: Any) -> dict[str, Any]:
    app.add_url_rule("/", "loaded", methods=["GET", "POST", "PUT", "DELETE"], query=Query, answer=Answer())
    with app.test_request_context(**request):
        return load_query()


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        pytest.param({"query_string": ""}, {"one": None, "many": ()}, id="nothing"),
        pytest.param({"query_string": "One=a&One=b"}, {"one": "a", "many": ()}, id="first of several"),
        pytest.param({"query_string": "Many=a&Many=&Many=b"}, {"one": None, "many": ["a", "", "b"]}, id="all of several"),
        pytest.param({"query_string": "One"}, {"one": "", "many": ()}, id="no value"),
        pytest.param({"query_string": "One=a%2Bb+c%20d=e"}, {"one": "a+b c d=e", "many": ()}, id="escapes"),
        pytest.param({"query_string": "one=a"}, {"one": None, "many": ()}, id="keys have a case"),
        pytest.param(
            {"method": "POST", "query_string": "One=q&Many=q", "data": "One=b&Many=b", "content_type": FORM},
            {"one": "b", "many": ["b", "q"]},
            id="body before query",
        ),
        pytest.param({"method": "PUT", "data": "One=b", "content_type": f"{FORM.upper()}; x=y"}, {"one": "b", "many": ()}, id="PUT"),
        pytest.param({"method": "DELETE", "data": "One=b", "content_type": FORM}, {"one": None, "many": ()}, id="DELETE has no form"),
        pytest.param({"method": "POST", "data": "One=b"}, {"one": None, "many": ()}, id="no type, no form"),
    ],
)
def test_parameters_are_read_as_go_reads_them(app: Flask, request_: dict[str, Any], expected: dict[str, Any]) -> None:
    assert loaded(app, **request_) == expected


def test_a_query_may_have_ten_thousand_parameters(app: Flask) -> None:
    assert loaded(app, query_string="&" * 9_998 + "&One=a")["one"] == "a"
    for request_ in ({"query_string": "&" * 10_000}, {"method": "POST", "data": b"&" * 10_000, "content_type": FORM}):
        with pytest.raises(InvalidParameter, match="number of URL query parameters exceeded limit"):
            loaded(app, **request_)


@pytest.mark.parametrize(("query", "escape"), [("One=%zz", "%zz"), ("%=1", "%"), ('One=%"a', r"%\"a"), ("One=a%2", "%2")])
def test_a_bad_escape_is_refused_in_the_words_of_go(app: Flask, query: str, escape: str) -> None:
    with pytest.raises(InvalidParameter) as refused:
        loaded(app, query_string=query)
    assert str(refused.value) == f'invalid URL escape "{escape}"'


def test_a_form_may_have_ten_mebibytes(app: Flask) -> None:
    body = b"One=" + b"a" * ((10 << 20) - 4)
    assert len(loaded(app, method="POST", data=body, content_type=FORM)["one"]) == (10 << 20) - 4
    with pytest.raises(InvalidParameter, match="http: POST too large"):
        loaded(app, method="POST", data=body + b"a", content_type=FORM)


READERS = [
    pytest.param(lambda stream: stream.read(), id="read all"),
    pytest.param(lambda stream: b"".join(iter(lambda: stream.read(100), b"")), id="read pieces"),
    pytest.param(lambda stream: io.BufferedReader(stream).read(), id="readinto"),
]


@pytest.mark.parametrize("read", READERS)
def test_a_body_is_read_whole(app: Flask, read: Callable[[BinaryIO], bytes]) -> None:
    with app.test_request_context(method="POST", data=b"x" * 1000):
        assert read(body_stream()) == b"x" * 1000


@pytest.mark.parametrize("read", READERS)
def test_a_body_that_is_shorter_than_its_length_is_an_error(app: Flask, read: Callable[[BinaryIO], bytes]) -> None:
    with app.test_request_context(method="POST", input_stream=io.BytesIO(b"x" * 999), environ_overrides={"CONTENT_LENGTH": "1000"}):
        stream = body_stream()
        with pytest.raises(InvalidContent, match="unexpected EOF"):
            read(stream)


def test_an_error_of_the_server_in_a_body_is_an_error_of_the_body(app: Flask) -> None:
    class Broken(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise ValueError("invalid chunk size")

    with app.test_request_context(method="POST", input_stream=Broken()):
        stream = body_stream()
        with pytest.raises(InvalidContent, match="unexpected EOF"):
            stream.read(1)


def test_a_body_that_does_not_go_on_is_told(app: Flask) -> None:
    class Silent(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise TimeoutError("timed out")

    with app.test_request_context(method="POST", input_stream=Silent()):
        stream = body_stream()
    with pytest.raises(InvalidContent, match="the client sent nothing of the request's body for 3600 seconds"):
        stream.read(1)


def test_a_client_is_waited_for_so_long_only(app: Flask) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        app.test_client().get("/_ping", environ_overrides={"gunicorn.socket": ours})
        assert ours.gettimeout() == 3600


def test_credentials_come_from_their_header(app: Flask) -> None:
    header = base64.urlsafe_b64encode(b'{"username":"u","password":"p"}').decode()
    with app.test_request_context(headers={"X-Registry-Auth": header}):
        credentials = registry_auth()
    assert credentials is not None
    assert (credentials.username, credentials.password) == ("u", "p")
    with app.test_request_context():
        assert registry_auth() is None


def test_meta_headers_are_those_with_their_prefix(app: Flask) -> None:
    with app.test_request_context(headers={"X-Meta-Team": "red", "X-Other": "no", "x-meta-low": "1"}):
        assert meta_headers() == {"X-Meta-Team": "red", "X-Meta-Low": "1"}


def test_the_engine_is_the_one_that_was_built(app: Flask, engine: Engine) -> None:
    with app.test_request_context():
        assert current_engine() is engine
