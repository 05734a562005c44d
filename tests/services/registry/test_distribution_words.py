"""A registry's refusals in the words of distribution's client."""

from __future__ import annotations

import json

import pytest
from urllib3 import HTTPResponse

from stowage.services.errors import (
    EngineError,
    Forbidden,
    InvalidParameter,
    NotAllowed,
    NotFound,
    RegistryFailure,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
)
from stowage.services.registry.distribution_words import request_errors
from stowage.services.registry.failure import Failed
from stowage.services.registry.refusals import read_refusal

JSON = "application/json; charset=utf-8"


def answer(status: int, content_type: str = JSON) -> HTTPResponse:
    return HTTPResponse(status=status, headers={"Content-Type": content_type})


def refusal(response: HTTPResponse, body: bytes) -> EngineError:
    with pytest.raises(EngineError) as raised, request_errors():
        raise Failed(read_refusal("GET", response, body))
    return raised.value


def errors(*entries: object) -> bytes:
    return json.dumps({"errors": entries}).encode()


def entry(code: str, message: str = "", **fields: object) -> dict[str, object]:
    return {"code": code, "message": message, **fields}


@pytest.mark.parametrize(
    ("status", "content_type", "body", "kind", "message"),
    [
        pytest.param(404, JSON, errors(entry("MANIFEST_UNKNOWN", "not here")), NotFound, "manifest unknown: not here", id="message"),
        pytest.param(404, JSON, errors(entry("MANIFEST_UNKNOWN", "manifest unknown")), NotFound, "manifest unknown", id="default message"),
        pytest.param(404, JSON, errors(entry("NAME_UNKNOWN")), NotFound, "name unknown", id="no message"),
        pytest.param(
            404,
            JSON,
            errors(entry("MANIFEST_UNKNOWN", "manifest unknown", detail={"Tag": "1"})),
            NotFound,
            "manifest unknown: manifest unknown",
            id="detail",
        ),
        pytest.param(
            401,
            JSON,
            errors(entry("DENIED"), entry("UNAUTHORIZED", "who are you")),
            Forbidden,
            "errors:\ndenied\nunauthorized: who are you\n",
            id="several, the first counts",
        ),
        pytest.param(
            429, JSON, errors(entry("TOOMANYREQUESTS", "slow down")), ResourceExhausted, "toomanyrequests: slow down", id="rate limit"
        ),
        pytest.param(405, JSON, errors(entry("UNSUPPORTED")), NotAllowed, "unsupported", id="unsupported"),
        pytest.param(403, JSON, errors(entry("UNAVAILABLE")), Unavailable, "unavailable", id="unavailable"),
        pytest.param(400, JSON, errors(entry("NAME_INVALID")), InvalidParameter, "name invalid", id="invalid name"),
        pytest.param(400, JSON, errors(entry("OTHER", "why not")), RegistryFailure, "unknown: why not", id="unknown code"),
        pytest.param(401, JSON, b'{"details": "no token"}', Unauthorized, "unauthorized: no token", id="details"),
        pytest.param(401, "", b"", Unauthorized, "unauthorized: ", id="401 without a body"),
        pytest.param(403, "text/plain", b"go away", Forbidden, "denied: go away", id="403 with a text"),
        pytest.param(429, "text/plain", b"later", ResourceExhausted, "toomanyrequests: later", id="429 with a text"),
        pytest.param(404, "text/html", b"<html>", RegistryFailure, "unknown: <html>", id="404 with a page"),
        pytest.param(
            404,
            JSON,
            b"{}",
            RegistryFailure,
            'error parsing HTTP 404 response body: no error details found in HTTP response body: "{}"',
            id="no errors",
        ),
        pytest.param(
            404,
            JSON,
            b"oops",
            RegistryFailure,
            "error parsing HTTP 404 response body: invalid character 'o' looking for beginning of value: \"oops\"",
            id="no JSON",
        ),
        pytest.param(401, JSON, b"oops", Unauthorized, "unauthorized: authentication required", id="401 without JSON"),
        pytest.param(
            500,
            JSON,
            errors(entry("UNKNOWN", "secret")),
            RegistryFailure,
            "received unexpected HTTP status: 500 Internal Server Error",
            id="500",
        ),
    ],
)
def test_a_refusal_is_told_in_dockers_words(status: int, content_type: str, body: bytes, kind: type[EngineError], message: str) -> None:
    error = refusal(answer(status, content_type), body)
    assert (type(error), str(error)) == (kind, message)


@pytest.mark.parametrize(
    "body", [b'{"errors": ["x"]}', b'{"errors": {"code": "DENIED"}}', b'{"errors": [{"code": 7}]}', b"[]", b"[" * 100_000]
)
def test_an_answer_of_the_wrong_shape_is_unreadable(body: bytes) -> None:
    assert str(refusal(answer(404), body)).startswith("error parsing HTTP 404 response body: ")
