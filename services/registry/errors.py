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
from typing import TypeVar
from urllib.parse import urlsplit

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeout
from urllib3.response import BaseHTTPResponse

from services.errors import (
    EngineError,
    Forbidden,
    InvalidContent,
    NotFound,
    RegistryFailure,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from services.oci import gojson
from services.oci.fields import Fields
from services.registry.connections import HandshakeError

_Error = TypeVar("_Error", bound=EngineError)

MAX_ERROR_BODY = 64_000
"""Bytes of an error answer that are read, as in containerd."""

NO_RANGES = frozenset({400, 416, 501})
"""What a registry without ranges, or without that many bytes, may say to a Range."""

_CODES: dict[str, tuple[type[EngineError], str]] = {
    "UNSUPPORTED": (Unsupported, "The operation is unsupported."),
    "UNAUTHORIZED": (Unauthorized, "authentication required"),
    "DENIED": (Forbidden, "requested access to the resource is denied"),
    "UNAVAILABLE": (Unavailable, "service unavailable"),
    "TOOMANYREQUESTS": (RegistryFailure, "too many requests"),
}
_UNKNOWN: tuple[type[EngineError], str] = (RegistryFailure, "unknown error")
_UNKNOWN_WORDS = "unknown: "
_REGISTRY_WORDS = "error from registry: "
_UNANSWERED = "failed to do request: "
_KINDS = (_UNKNOWN_WORDS, _REGISTRY_WORDS)
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


def unexpected_status(method: str, response: BaseHTTPResponse, body: bytes) -> EngineError:
    """The error for an answer that is neither what was asked for nor a 404: the registry's own words where it sent any."""
    words = f"unexpected status from {method} request to {shown(response.url or '')}: {status_line(response.status)}"
    try:
        document = gojson.decode(body)
        error = _told(response.status, Fields({} if document is None else document, "docker.Errors"), words)
    except InvalidContent:
        error = RegistryFailure(_UNKNOWN_WORDS + words)
    error.retry_after = retry_after(response)
    return error


def retry_after(response: BaseHTTPResponse) -> float | None:
    """Seconds after which another try may find another status, as far as the answer says; None where it would not."""
    return _seconds(response.headers.get("Retry-After", "")) if response.status in _PASSING_STATUSES else None


def status_line(status: int) -> str:
    """`404 Not Found`, as Go prints a status."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def connection_failure(method: str, url: str, error: HTTPError | OSError) -> RegistryFailure:
    """The error for a request that got no answer. Another try may succeed, but where TLS or the URL are not to be had."""
    failure = RegistryFailure(f'{_UNANSWERED}{method.capitalize()} "{shown(url)}": {_reason(error, url)}')
    failure.retry_after = None if isinstance(error, LocationValueError) or _tls_problem(error) else 0
    failure.unanswered = url
    return failure


def misdirected(method: str, url: str, reason: RegistryFailure) -> RegistryFailure:
    """The error for a request that is redirected too often or to where it may not go."""
    return RegistryFailure(f'{_UNANSWERED}{method.capitalize()} "{shown(url)}": {reason}')


def classically(failure: RegistryFailure, method: str, base: str) -> RegistryFailure:
    """The failure of a request in the words of distribution's client: as it asks for `base` before, that is what cannot be reached."""
    if not str(failure).startswith(_UNANSWERED):  # it was not sent, for a setting that cannot be
        return failure
    cause = failure.__cause__
    is_own = urlsplit(failure.unanswered).netloc == urlsplit(base).netloc
    if is_own and isinstance(cause, NewConnectionError | ConnectTimeoutError | SSLError | ProxyError):
        return as_from_go(connection_failure("GET", base, cause))
    return reworded(failure, f"{method} {str(as_from_go(failure)).partition(' ')[2]}")


def stream_failure(error: HTTPError | OSError | ValueError) -> RegistryFailure:
    """The error for a body that broke off; another try may go on with it."""
    failure = RegistryFailure(f"failed to copy: {'unexpected EOF' if isinstance(error, ProtocolError) else _reason(error, '')}")
    failure.retry_after = 0
    return failure


def shown(url: str) -> str:
    """The URL without its query, which may carry a signature."""
    return url.partition("?")[0]


def access_denied(repository: str) -> NotFound:
    """The error for a repository that credentials, or their absence, do not open; registries do not tell which it is."""
    return standing_alone(NotFound(f"pull access denied for {repository}, repository does not exist or may require 'docker login'"))


def push_denied(reason: str) -> Unauthorized:
    """The error for a repository that may not be pushed to, or not by this client."""
    return Unauthorized(f"push access denied, repository does not exist or may require authorization: {reason}")


def in_words(error: EngineError, prefix: str) -> EngineError:
    """The same kind of error with more words before it, but behind `unknown: `; what a registry says stands alone."""
    words = str(error)
    kind = next((kind for kind in _KINDS if words.startswith(kind)), "")
    return reworded(error, words if error.stands_alone else f"{kind}{prefix}: {words.removeprefix(kind)}")


def standing_alone(error: _Error) -> _Error:
    """The error, marked as one before which nothing is said."""
    error.stands_alone = True
    return error


def reworded(error: _Error, words: str) -> _Error:
    """The same kind of error in other words."""
    other = type(error)(words)
    other.__dict__.update(error.__dict__)
    return other


def as_from_go(error: _Error) -> _Error:
    """The error without what only containerd's client, which neither logs in nor searches, says of a request that got no answer."""
    return reworded(error, str(error).removeprefix(_UNANSWERED))


def _told(status: int, document: Fields, otherwise: str) -> EngineError:
    """The error that a registry tells in a JSON object, in these other words where it tells none; raises InvalidContent."""
    described = [_described(Fields(entry, "docker.Error")) for entry in document.array("errors") or ()]
    details = document.value("details")
    if described:
        return standing_alone(described[0][0](_REGISTRY_WORDS + "\n".join(message for _, message in described)))
    if status in _OLD_CODES and isinstance(details, str) and details:
        kind, message = _CODES[_OLD_CODES[status]]
        return standing_alone(kind(f"{message} - {details}"))
    return RegistryFailure(_REGISTRY_WORDS + otherwise)


def _described(entry: Fields) -> tuple[type[EngineError], str]:
    """One entry of `errors`: its kind, and its message with its detail where that is a text."""
    kind, default = _CODES.get(entry.text("code"), _UNKNOWN)
    message, detail = entry.text("message") or default, entry.value("detail")
    return kind, f"{message} - {detail}" if isinstance(detail, str) else message


def _reason(error: BaseException, url: str) -> str:
    """Why a connection failed, as Go tells it, without the client library's object names."""
    if isinstance(error, LocationValueError):  # whose words have the whole URL
        return "no valid host in request URL"
    if isinstance(error, ProxyError):
        return f"proxyconnect tcp: {_reason(error.original_error, url)}"
    if isinstance(error, NameResolutionError):
        return f"dial tcp: lookup {urlsplit(url).hostname}: no such host"
    if isinstance(error, ConnectTimeoutError) and not isinstance(error, NewConnectionError):
        return f"dial tcp {_address(url)}: i/o timeout"
    if isinstance(error, HandshakeError) and isinstance(error.__cause__, TimeoutError):
        return "net/http: TLS handshake timeout"
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
