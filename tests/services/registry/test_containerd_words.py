"""What a registry answers becomes an error in the words of containerd's client, however odd it is."""

from __future__ import annotations

import pytest
from urllib3 import HTTPResponse

from stowage.services.errors import EngineError, Forbidden
from stowage.services.registry.containerd_words import pull_errors
from stowage.services.registry.failure import Failed, Failure, NoToken
from stowage.services.registry.refusals import read_refusal

URL = "https://registry.example/v2/app/manifests/1"


def refused(status: int, body: bytes, doing: str = "") -> EngineError:
    with pytest.raises(EngineError) as raised, pull_errors("app", doing):
        raise Failed(read_refusal("HEAD", HTTPResponse(status=status, request_url=URL), body))
    return raised.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"errors":[{"code":"DENIED","message":"\\ud800 bad"}]}', "error from registry: \ufffd bad", id="lone surrogate"),
        pytest.param(
            b'{"errors":[{"code":"DENIED","message":"bad","detail":"\\udfff"}]}', "error from registry: bad - \ufffd", id="detail"
        ),
        pytest.param(b'{"errors":[{"code":"DENIED","message":"\xff"}]}', "error from registry: \ufffd", id="no UTF-8"),
        pytest.param(b'{"details":"\\ud800"}', "requested access to the resource is denied - \ufffd", id="older form"),
    ],
)
def test_words_that_are_no_text_are_told_as_far_as_they_are(body: bytes, words: str) -> None:
    error = refused(403, body)
    assert (type(error), str(error)) == (Forbidden, words)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'{"errors":' + b"9" * 5000 + b"}"])
def test_a_refusal_without_words_is_unknown(body: bytes) -> None:
    assert str(refused(403, body)) == f"unknown: unexpected status from HEAD request to {URL}: 403 Forbidden"


def test_what_was_done_stands_between_unknown_and_the_status() -> None:
    failure = read_refusal("GET", HTTPResponse(status=500, request_url=URL), b"")
    with pytest.raises(EngineError) as raised, pull_errors("app", "failed to resolve: "):
        raise Failed(failure)
    assert str(raised.value).startswith("unknown: failed to resolve: unexpected status from GET ")
    with pytest.raises(EngineError) as raised, pull_errors("app", "failed to resolve: "):
        raise Failed(Failure("HEAD", URL, NoToken("oauth token", failure)))
    assert str(raised.value).startswith(
        "unknown: failed to resolve: failed to authorize: failed to fetch oauth token: unexpected status from "
    )


def test_the_registrys_own_words_stand_alone() -> None:
    error = refused(400, b'{"errors":[{"code":"OTHER","message":"why not"}]}', doing="failed to resolve: ")
    assert str(error) == "error from registry: why not"
