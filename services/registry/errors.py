"""What a registry or the way to it says, as the engine's errors in Docker's words.

A registry's error body is `{"errors": [{"code": ..., "message": ..., "detail": ...}]}`; an older one is `{"details": ...}`.

Source: OCI distribution spec "Error Codes"; moby daemon/containerd/registry_errors.go; containerd core/remotes/docker/errcode.go and
core/remotes/errors.
"""

from __future__ import annotations

import json
from http import HTTPStatus

from urllib3.exceptions import HTTPError, NameResolutionError, NewConnectionError, ProtocolError
from urllib3.exceptions import TimeoutError as HTTPTimeout

from services.errors import (
    EngineError,
    Forbidden,
    NotFound,
    RegistryFailure,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from services.oci.digest import Digest

MAX_ERROR_BODY = 64_000
"""Bytes of an error answer that are read, as in containerd."""

_CODES: dict[str, tuple[type[EngineError], str]] = {
    "UNSUPPORTED": (Unsupported, "The operation is unsupported."),
    "UNAUTHORIZED": (Unauthorized, "authentication required"),
    "DENIED": (Forbidden, "requested access to the resource is denied"),
    "UNAVAILABLE": (Unavailable, "service unavailable"),
    "TOOMANYREQUESTS": (ResourceExhausted, "too many requests"),
}
_UNKNOWN: tuple[type[EngineError], str] = (RegistryFailure, "unknown error")
_OLD_CODES: dict[int, str] = {401: "UNAUTHORIZED", 403: "DENIED"}


def unexpected_status(method: str, url: str, status: int, body: bytes) -> EngineError:
    """The error for an answer that is neither what was asked for nor a 404: the registry's own words where it sent any."""
    return _from_body(status, body) or RegistryFailure(f"unexpected status from {method} request to {shown(url)}: {status_line(status)}")


def status_line(status: int) -> str:
    """`404 Not Found`, as Go prints a status."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def connection_failure(method: str, url: str, error: HTTPError | OSError) -> RegistryFailure:
    """The error for a request that got no answer."""
    return RegistryFailure(f'failed to do request: {method.capitalize()} "{shown(url)}": {_reason(error)}')


def stream_failure(digest: Digest, error: HTTPError | OSError | ValueError) -> RegistryFailure:
    """The error for a body that broke off."""
    return RegistryFailure(f"failed to copy {digest}: " + ("unexpected EOF" if isinstance(error, ProtocolError) else _reason(error)))


def shown(url: str) -> str:
    """The URL without its query, which may carry a signature."""
    return url.partition("?")[0]


def access_denied(repository: str) -> NotFound:
    """The error for a repository that credentials, or their absence, do not open; registries do not tell which it is."""
    return NotFound(f"pull access denied for {repository}, repository does not exist or may require 'docker login'")


def tags_refused(repository: str, body: bytes) -> EngineError | None:
    """The error for a list of tags that a registry refuses, or None where its words are not the kind that moby rewords here.

    Source: moby daemon/internal/distribution/errors.go (translatePullError).
    """
    errors = _listed(_document(body))
    if not errors:
        return None
    code = str(errors[0].get("code"))
    said = f"{code.lower().replace('_', ' ')}: {_described(errors[0])[1]}"
    match code:
        case "NAME_UNKNOWN":
            return NotFound(f"repository {repository} not found: {said}")
        case "DENIED":
            return NotFound(f"{access_denied(repository)}: {said}")
        case "UNAUTHORIZED":
            return Unauthorized(said)
    return None


def in_words(error: EngineError, prefix: str) -> EngineError:
    """The same kind of error with more words before it."""
    return type(error)(f"{prefix}: {error}")


def _from_body(status: int, body: bytes) -> EngineError | None:
    """The error that the body tells, or None where it is not a registry's."""
    document = _document(body)
    if errors := _listed(document):
        described = [_described(entry) for entry in errors]
        return described[0][0]("error from registry: " + "\n".join(message for _, message in described))
    details = document.get("details")
    if status not in _OLD_CODES or not isinstance(details, str) or not details:
        return None
    kind, message = _CODES[_OLD_CODES[status]]
    return kind(f"{message} - {details}")


def _document(body: bytes) -> dict[str, object]:
    """The JSON object in the body, empty where there is none."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _listed(document: dict[str, object]) -> list[dict[str, object]]:
    errors = document.get("errors")
    return [entry for entry in errors if isinstance(entry, dict)] if isinstance(errors, list) else []


def _described(entry: dict[str, object]) -> tuple[type[EngineError], str]:
    """One entry of `errors`: its kind, and its message with its detail where that is a text."""
    kind, default = _CODES.get(str(entry.get("code")), _UNKNOWN)
    message = str(entry.get("message") or default)
    detail = entry.get("detail")
    return kind, f"{message} - {detail}" if isinstance(detail, str) else message


def _reason(error: BaseException) -> str:
    """Why a connection failed, without the client library's object names."""
    if isinstance(error, NameResolutionError):
        return "no such host"
    if isinstance(error, HTTPTimeout) and not isinstance(error, NewConnectionError):
        return "timeout awaiting response"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror[0].lower() + cause.strerror[1:]
        cause = cause.__cause__ or cause.__context__
    return str(error)
