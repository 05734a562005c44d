"""Failures in the words of distribution's client, which Docker uses to inspect, list tags, log in and search.

    Get "https://registry.example/v2/": EOF                                     no answer
    Head "https://registry.example/v2/...": unauthorized: who are you           no token
    manifest unknown: not known to registry                                     one error
    manifest unknown                                                            one without a message
    errors:\\ndenied: ...\\nunauthorized: ...\\n                               several

Of several errors, what a challenge says is wrong with a token comes first. The client asks for the root of a registry's API before anything
else, so an unreachable registry is reported with that URL.

Source: distribution registry/client/errors.go, registry/api/errcode and registry/client/auth/session.go; moby
daemon/server/httpstatus/status.go, daemon/internal/distribution/errors.go (translatePullError) and registry.go,
daemon/pkg/registry/auth.go.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import NamedTuple
from urllib.parse import urlsplit

from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ProxyError, SSLError

from stowage.services.errors import NotFound, RegistryFailure, Unauthorized
from stowage.services.oci import gojson
from stowage.services.registry.containerd_words import PULL_DENIED
from stowage.services.registry.error_document import CODES, ErrorDocument, StatedError
from stowage.services.registry.failure import Failure, NoToken, Refusal, Sentence, worded
from stowage.services.registry.gohttp import status_line, url_error
from stowage.services.registry.redaction import without_query

_BY_STATUS = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}
_BY_TOKEN_ERROR = {"invalid_token": "UNAUTHORIZED", "insufficient_scope": "DENIED"}
_ABSENT = {
    "DENIED": PULL_DENIED,
    "NAME_UNKNOWN": "repository {} not found",
    "MANIFEST_UNKNOWN": "manifest for {} not found",
}
"""How a list of tags that is refused with this code is reported."""
_JSON_TYPES = ("application/json", "application/vnd.api+json")
_UNREACHABLE = NewConnectionError | ConnectTimeoutError | SSLError | ProxyError


def request_errors(method: str = "GET") -> AbstractContextManager[None]:
    """Raise failures inside as errors of a request that Docker would have made with this method."""
    return worded(lambda failure: _word(failure, method))


def tags_errors(repository: str) -> AbstractContextManager[None]:
    """Raise failures inside as errors of listing this repository's tags."""
    return worded(lambda failure: _word_tags(failure, repository))


def login_errors() -> AbstractContextManager[None]:
    """Raise failures inside as errors of a login: Unauthorized if the token server refuses it, else RegistryFailure."""
    return worded(_word_login)


def _word_tags(failure: Failure, repository: str) -> Sentence:
    """If there are several errors, the first counts."""
    if not isinstance(failure.reason, Refusal):
        return _word(failure, failure.method)
    said = _said(failure.reason)[0]
    if said.code in _ABSENT and not said.bare:
        return NotFound, f"{_ABSENT[said.code].format(repository)}: {said.words}"
    return CODES[said.code][0], said.words


def _word_login(failure: Failure) -> Sentence:
    kind, words = _word(failure, failure.method)
    return (kind if kind is Unauthorized else RegistryFailure), words


def _word(failure: Failure, method: str) -> Sentence:
    match failure.reason:
        case Refusal() as refusal:
            return _word_refusal(refusal)
        case NoToken(failure=cause):
            kind, words = _word(cause, cause.method)
            return kind, f'{method.capitalize()} "{without_query(failure.url)}": {words}'
        case error if (endpoint := failure.endpoint) and isinstance(error, _UNREACHABLE) and urlsplit(failure.url).netloc == endpoint.host:
            asked_last = endpoint.plain if endpoint.may_be_plain else endpoint
            return RegistryFailure, url_error("GET", f"{asked_last.base}/", error)
        case error if failure.method:
            return RegistryFailure, url_error(method, failure.url, error)
    return RegistryFailure, str(failure.reason)


class _Said(NamedTuple):
    """One error: its code and its words; `bare` if the words say no more than the code."""

    code: str
    words: str
    bare: bool = False


def _word_refusal(refusal: Refusal) -> Sentence:
    said = _said(refusal)
    words = said[0].words if len(said) == 1 else "".join(["errors:\n", *(f"{error.words}\n" for error in said)])
    return CODES[said[0].code][0], words


def _said(refusal: Refusal) -> list[_Said]:
    """Every error that the answer reports, at least one."""
    if not 400 <= refusal.status < 500:
        return [_Said("UNKNOWN", f"received unexpected HTTP status: {status_line(refusal.status)}")]
    return _of_token(refusal) + _of_body(refusal)


def _of_token(refusal: Refusal) -> list[_Said]:
    """The error in the first challenge that reports one, if any does."""
    for challenge in refusal.challenges:
        code = _BY_TOKEN_ERROR.get(challenge.parameters.get("error", ""))
        if challenge.scheme == "bearer" and code:
            return [_with_message(code, challenge.parameters.get("error_description") or CODES[code][1])]
    return []


def _of_body(refusal: Refusal) -> list[_Said]:
    """What the body says. It is read as a document if the answer says that it is one, else as plain text."""
    text = refusal.body.decode("utf-8", "replace")
    code = _BY_STATUS.get(refusal.status, "UNKNOWN")
    document = refusal.document
    if refusal.content_type.partition(";")[0].strip().lower() not in _JSON_TYPES:
        return [_with_message(code, text)]
    if document.details:
        return [_with_message(code, document.details)]
    return [_of_error(error) for error in document.errors] or [_unreadable(refusal.status, document, text)]


def _of_error(error: StatedError) -> _Said:
    """One error: its code and message, or the code alone if the message adds nothing."""
    code = error.code if error.code in CODES else "UNKNOWN"
    if error.detail is None and error.message in ("", CODES[code][1]):
        return _Said(code, _spoken(code), bare=True)
    return _with_message(code, error.message)


def _unreadable(status: int, document: ErrorDocument, text: str) -> _Said:
    if status == 401:
        return _with_message("UNAUTHORIZED", "authentication required")
    why = document.unreadable or "no error details found in HTTP response body"
    return _Said("UNKNOWN", f"error parsing HTTP {status} response body: {why}: {gojson.quote(text)}")


def _with_message(code: str, message: str) -> _Said:
    return _Said(code, f"{_spoken(code)}: {message}")


def _spoken(code: str) -> str:
    return code.lower().replace("_", " ")
