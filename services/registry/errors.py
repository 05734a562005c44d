"""What a registry or the way to it says, as the engine's errors in Docker's words.

A registry's error body is `{"errors": [{"code": ..., "message": ..., "detail": ...}]}`; an older one is `{"details": ...}`.

Source: OCI distribution spec "Error Codes"; moby daemon/containerd/registry_errors.go; containerd core/remotes/docker/errcode.go and
core/remotes/errors.
"""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import RemoteDisconnected
from urllib.parse import urlsplit

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeout

from services.errors import (
    EngineError,
    Forbidden,
    InvalidContent,
    NotFound,
    RegistryFailure,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from services.oci import gojson
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
_UNKNOWN_WORDS = "unknown: "
_REGISTRY_WORDS = "error from registry: "
_OLD_CODES: dict[int, str] = {401: "UNAUTHORIZED", 403: "DENIED"}
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_CERTIFICATE_PROBLEMS = {
    9: "certificate has expired or is not yet valid",
    10: "certificate has expired or is not yet valid",
    18: "certificate signed by unknown authority",
    19: "certificate signed by unknown authority",
    20: "certificate signed by unknown authority",
    21: "certificate signed by unknown authority",
}
"""What Go says of OpenSSL's results of a verification."""
_TLS_PROBLEMS = {
    "WRONG_VERSION_NUMBER": "http: server gave HTTP response to HTTPS client",
    "TLSV1_ALERT_PROTOCOL_VERSION": "remote error: tls: protocol version not supported",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "remote error: tls: certificate required",
    "SSLV3_ALERT_BAD_CERTIFICATE": "remote error: tls: bad certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "remote error: tls: handshake failure",
    "TLSV1_ALERT_UNKNOWN_CA": "remote error: tls: unknown certificate authority",
    "TLSV1_UNRECOGNIZED_NAME": "remote error: tls: unrecognized name",
}
"""What Go says of OpenSSL's reasons why there is no TLS (crypto/tls/alert.go)."""


def unexpected_status(method: str, url: str, status: int, body: bytes, *, retry_after: str = "") -> EngineError:
    """The error for an answer that is neither what was asked for nor a 404: the registry's own words where it sent any, else unknown.

    `retry_after` is the header of that name; it counts where another try may find another status.
    """
    error = _from_body(status, body) or RegistryFailure(
        f"{_UNKNOWN_WORDS}unexpected status from {method} request to {shown(url)}: {status_line(status)}"
    )
    error.retry_after = _seconds(retry_after) if status in _PASSING_STATUSES else None
    return error


def status_line(status: int) -> str:
    """`404 Not Found`, as Go prints a status."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def connection_failure(method: str, url: str, error: HTTPError | OSError) -> RegistryFailure:
    """The error for a request that got no answer. Another try may succeed, but where TLS or the URL are not to be had."""
    failure = RegistryFailure(f'failed to do request: {method.capitalize()} "{shown(url)}": {_reason(error, url)}')
    failure.retry_after = None if isinstance(error, LocationValueError) or _tls_problem(error) else 0
    return failure


def stream_failure(digest: Digest, error: HTTPError | OSError | ValueError) -> RegistryFailure:
    """The error for a body that broke off."""
    if isinstance(error, ProtocolError):
        return broken_off(digest)
    failure = RegistryFailure(f"failed to copy {digest}: {_reason(error, '')}")
    failure.retry_after = 0
    return failure


def broken_off(digest: Digest) -> RegistryFailure:
    """The error for a body that ended before its end; another try may go on with it."""
    failure = RegistryFailure(f"failed to copy {digest}: unexpected EOF")
    failure.retry_after = 0
    return failure


def shown(url: str) -> str:
    """The URL without its query, which may carry a signature."""
    return url.partition("?")[0]


def access_denied(repository: str) -> NotFound:
    """The error for a repository that credentials, or their absence, do not open; registries do not tell which it is."""
    return NotFound(f"pull access denied for {repository}, repository does not exist or may require 'docker login'")


def push_denied(reason: str) -> Unauthorized:
    """The error for a repository that may not be pushed to, or not by this client."""
    return Unauthorized(f"push access denied, repository does not exist or may require authorization: {reason}")


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
    """The same kind of error with more words before it, but behind `unknown: `; what a registry says stands alone."""
    words = str(error)
    if words.startswith(_REGISTRY_WORDS):
        return error
    kind = _UNKNOWN_WORDS if words.startswith(_UNKNOWN_WORDS) else ""
    return reworded(error, f"{kind}{prefix}: {words.removeprefix(kind)}")


def reworded(error: EngineError, words: str) -> EngineError:
    """The same kind of error in other words."""
    other = type(error)(words)
    other.retry_after = error.retry_after
    return other


def as_from_go(error: EngineError) -> EngineError:
    """The error without what only containerd's client, which neither logs in nor searches, says of a request that got no answer."""
    return reworded(error, str(error).removeprefix("failed to do request: "))


def _from_body(status: int, body: bytes) -> EngineError | None:
    """The error that the body tells, or None where it is not a registry's."""
    document = _document(body)
    if errors := _listed(document):
        described = [_described(entry) for entry in errors]
        return described[0][0](_REGISTRY_WORDS + "\n".join(message for _, message in described))
    details = document.get("details")
    if status not in _OLD_CODES or not isinstance(details, str) or not details:
        return None
    kind, message = _CODES[_OLD_CODES[status]]
    return kind(f"{message} - {details}")


def _document(body: bytes) -> dict[str, object]:
    """The JSON object in the body, empty where there is none."""
    try:
        document = gojson.decode(body)
    except InvalidContent:
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


def _reason(error: BaseException, url: str) -> str:
    """Why a connection failed, as Go tells it, without the client library's object names."""
    if isinstance(error, ProxyError):
        return f"proxyconnect tcp: {_reason(error.original_error, url)}"
    if isinstance(error, NameResolutionError):
        return f"dial tcp: lookup {urlsplit(url).hostname}: no such host"
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return f"dial tcp {_address(url)}: i/o timeout"
    if isinstance(error, HTTPTimeout) and not isinstance(error, NewConnectionError):
        return "net/http: timeout awaiting response headers" if url else "i/o timeout"
    if problem := _tls_problem(error):
        return problem
    cause = _cause(error)
    if cause is None:
        return str(error)
    words = "EOF" if isinstance(cause, RemoteDisconnected) else (cause.strerror or str(cause))
    words = words if words.isupper() else words[:1].lower() + words[1:]
    return f"dial tcp {_address(url)}: connect: {words}" if isinstance(error, NewConnectionError) else words


def _tls_problem(error: BaseException) -> str:
    """Why there is no TLS with this server, in Go's words; empty where that is not known for sure."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "tls: failed to verify certificate: x509: " + _CERTIFICATE_PROBLEMS.get(cause.verify_code, cause.verify_message)
    return _TLS_PROBLEMS.get(cause.reason, "") if isinstance(cause, ssl.SSLError) else ""


def _cause(error: BaseException) -> OSError | None:
    """The system's error behind the library's; an EngineError among the contexts is an earlier request's failure."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, EngineError):
        if isinstance(cause, OSError) and (cause.strerror or isinstance(cause, RemoteDisconnected)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _address(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"


def _seconds(retry_after: str) -> float:
    """What a Retry-After header says, in seconds from now; 0 for what it should not say. RFC 9110 section 10.2.3."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after[:9])
    with suppress(ValueError, OverflowError):
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    return 0.0
