"""The words of failures: those of the clients in Docker, since users and scripts know them.

Pulls and pushes fail in the words of containerd's client. The step that failed comes first:

    failed to resolve reference "<reference>": ...
    failed to copy: httpReadSeeker: failed open: ...

then, at a token server, `failed to authorize: failed to fetch anonymous token: ...`, then what happened:

    failed to do request: Head "<url>": EOF
    unexpected status from GET request to <url>: 500 Internal Server Error

An answer without a document puts `unknown: ` before all that; a document without errors puts `error from registry: `. Errors in a
document replace it: `error from registry: <message>`.

Inspect, lists of tags, logins and searches fail in the words of distribution's client:

    Get "https://registry.example/v2/": EOF                                     no answer
    Head "https://registry.example/v2/...": unauthorized: who are you           no token
    manifest unknown: not known to registry                                     one error
    manifest unknown                                                            one without a message
    errors:\\ndenied: ...\\nunauthorized: ...\\n                               several

Of several errors, what a challenge says is wrong with a token comes first. The client asks for the root of a registry's API before anything
else, so an unreachable registry is reported with that URL.

Both pass on what Go's net/http says: why a request got no answer, and how a status is printed.

    Get "https://registry.example/v2/": dial tcp registry.example:443: connect: connection refused
    404 Not Found

Source: moby daemon/containerd/registry_errors.go and image_pull.go, daemon/server/httpstatus/status.go,
daemon/internal/distribution/errors.go (translatePullError) and registry.go, daemon/pkg/registry/auth.go; containerd
core/remotes/docker/errcode.go, resolver.go, fetcher.go, pusher.go, authorizer.go and httpreadseeker.go, core/remotes/errors; distribution
registry/client/errors.go, registry/api/errcode and registry/client/auth/session.go; Go net/url (Error), net/http (client.go, status.go),
net (OpError), crypto/tls/alert.go and crypto/x509/verify.go.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, RemoteDisconnected
from typing import NamedTuple
from urllib.parse import urlsplit

from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    ProxyError,
    SSLError,
)
from urllib3.exceptions import TimeoutError as HTTPTimeout

from stowage.services.errors import NotFound, RegistryFailure, Unauthorized, Unsupported
from stowage.services.oci import gojson
from stowage.services.registry.connections import HandshakeError
from stowage.services.registry.credentials import without_query
from stowage.services.registry.failure import (
    CODES,
    ErrorDocument,
    Failure,
    NoAuthorization,
    NoCredentials,
    NoToken,
    Refusal,
    Sentence,
    StatedError,
    stated_error,
    worded,
)

OPENING = "failed to copy: httpReadSeeker: failed open: "
PULL_DENIED = "pull access denied for {}, repository does not exist or may require 'docker login'"

_REGISTRY = "error from registry: "
_DENIED = "access denied, repository does not exist or may require authorization: "
_KINDS = {code: CODES[code][0] for code in ("UNAUTHORIZED", "DENIED", "UNAVAILABLE")}
_KINDS |= {"UNSUPPORTED": Unsupported, "TOOMANYREQUESTS": RegistryFailure}
"""The codes that containerd knows; any other is unknown."""
_OLD_CODES = {401: "UNAUTHORIZED", 403: "DENIED"}

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

_CERTIFICATE_PROBLEMS = {
    **dict.fromkeys((9, 10), "certificate has expired or is not yet valid"),
    **dict.fromkeys((18, 19, 20, 21), "certificate signed by unknown authority"),
}
"""What Go says for OpenSSL's verification results."""
_TLS_PROBLEMS = {
    "WRONG_VERSION_NUMBER": "http: server gave HTTP response to HTTPS client",
    "TLSV1_ALERT_PROTOCOL_VERSION": "remote error: tls: protocol version not supported",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "remote error: tls: certificate required",
    "SSLV3_ALERT_BAD_CERTIFICATE": "remote error: tls: bad certificate",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "remote error: tls: handshake failure",
    "TLSV1_ALERT_UNKNOWN_CA": "remote error: tls: unknown certificate authority",
    "TLSV1_UNRECOGNIZED_NAME": "remote error: tls: unrecognized name",
}
"""What Go says for OpenSSL's reasons why there is no TLS."""


def pull_errors(repository: str, doing: str, *, absent: str = "") -> AbstractContextManager[None]:
    """Raise failures inside as errors of a pull from this repository. `doing` is the step that was being done; `absent` is what a 404
    says does not exist.
    """
    return worded(lambda failure: _word_pull(failure, repository, doing, absent))


@contextmanager
def push_errors() -> Iterator[None]:
    """Raise failures inside as errors of a push."""
    with worded(_word_push):
        yield


def copy_error(why: str = "unexpected EOF") -> RegistryFailure:
    """The error for a body that broke off; another try may continue it."""
    error = RegistryFailure(f"failed to copy: {why}")
    error.retry_after = 0
    return error


def _word_pull(failure: Failure, repository: str, doing: str, absent: str) -> Sentence:
    match failure.reason:
        case Refusal(denied=True):  # registries do not say whether it is private or does not exist
            return NotFound, PULL_DENIED.format(repository)
        case Refusal(status=404):
            return NotFound, f"{doing}{absent or f'content at {without_query(failure.url)} not found'}: not found"
        case NoCredentials() as missing:
            return RegistryFailure, f"{doing}pull {_DENIED}authorization failed: {missing}"
    return _word_transfer(failure, doing)


def _word_push(failure: Failure) -> Sentence:
    match failure.reason:
        case Refusal(denied=True) as refusal:
            return Unauthorized, f"push {_DENIED}server message: {stated_error(refusal.challenges)}: authorization failed"
        case NoCredentials() as missing:
            return Unauthorized, f"push {_DENIED}authorization failed: {missing}"
    return _word_transfer(failure, "")


def _word_transfer(failure: Failure, doing: str, sending: str = "failed to do request: ") -> Sentence:
    match failure.reason:
        case Refusal() as refusal:
            request = f"{failure.method} request to {without_query(failure.url)}"
            return _transfer_refusal(refusal, f"{doing}unexpected status from {request}: {status_line(refusal.status)}")
        case NoToken() as missing:
            return _word_transfer(missing.failure, f"{doing}failed to authorize: failed to fetch {missing.wanted}: ", sending="")
        case NoAuthorization() as missing:
            return RegistryFailure, f"{doing}{missing}"
        case error if failure.method:
            return RegistryFailure, f"{doing}{sending}{url_error(failure.method, failure.url, error)}"
    return RegistryFailure, f"{doing}{failure.reason}"


def _transfer_refusal(refusal: Refusal, otherwise: str) -> Sentence:
    """What the registry says, or `otherwise` if it says nothing."""
    document = refusal.document
    if document.unreadable:
        return RegistryFailure, f"unknown: {otherwise}"
    if document.errors:
        kind = _KINDS.get(document.errors[0].code, RegistryFailure)
        return kind, _REGISTRY + "\n".join(map(_message, document.errors))
    if document.details and refusal.status in _OLD_CODES:
        code = _OLD_CODES[refusal.status]
        return _KINDS[code], f"{CODES[code][1]} - {document.details}"
    return RegistryFailure, _REGISTRY + otherwise


def _message(error: StatedError) -> str:
    """The message of an error, with its detail if that is a string."""
    message = error.message or CODES[error.code if error.code in _KINDS else "UNKNOWN"][1]
    return f"{message} - {error.detail}" if isinstance(error.detail, str) else message


def request_errors(method: str = "GET") -> AbstractContextManager[None]:
    """Raise failures inside as errors of a request that Docker would have made with this method."""
    return worded(lambda failure: _word_request(failure, method))


def tags_errors(repository: str) -> AbstractContextManager[None]:
    """Raise failures inside as errors of listing this repository's tags."""
    return worded(lambda failure: _word_tags(failure, repository))


def login_errors() -> AbstractContextManager[None]:
    """Raise failures inside as errors of a login: Unauthorized if the token server refuses it, else RegistryFailure."""
    return worded(_word_login)


def _word_tags(failure: Failure, repository: str) -> Sentence:
    """If there are several errors, the first counts."""
    if not isinstance(failure.reason, Refusal):
        return _word_request(failure, failure.method)
    said = _said(failure.reason)[0]
    if said.code in _ABSENT and not said.bare:
        return NotFound, f"{_ABSENT[said.code].format(repository)}: {said.words}"
    return CODES[said.code][0], said.words


def _word_login(failure: Failure) -> Sentence:
    kind, words = _word_request(failure, failure.method)
    return (kind if kind is Unauthorized else RegistryFailure), words


def _word_request(failure: Failure, method: str) -> Sentence:
    match failure.reason:
        case Refusal() as refusal:
            return _request_refusal(refusal)
        case NoToken(failure=cause):
            kind, words = _word_request(cause, cause.method)
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


def _request_refusal(refusal: Refusal) -> Sentence:
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


def status_line(status: int) -> str:
    """`404 Not Found`."""
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return str(status)


def url_error(method: str, url: str, error: BaseException) -> str:
    """`Get "https://registry.example/v2/": EOF`, without the query, which may carry a signature."""
    return f'{method.capitalize()} "{without_query(url)}": {reason(error, url)}'


def is_lasting(error: BaseException) -> bool:
    """Whether another try would fail the same way: TLS is not possible, or the URL is not valid."""
    return isinstance(error, LocationValueError) or bool(_tls_problem(error))


def reason(error: BaseException, url: str = "") -> str:
    """Why there is no answer from this URL, or why the answer broke off if it is empty; without the client library's object names."""
    if isinstance(error, LocationValueError):  # its message has the whole URL
        return "no valid host in request URL"
    if isinstance(error, ProxyError):
        return f"proxyconnect tcp: {reason(error.original_error, url)}"
    if isinstance(error, NameResolutionError):
        return f"dial tcp: lookup {urlsplit(url).hostname}: no such host"
    if isinstance(error, NewConnectionError):
        return f"dial tcp {_address(url)}: connect: {_system_words(error)}"
    if isinstance(error, ConnectTimeoutError):
        return f"dial tcp {_address(url)}: i/o timeout"
    if isinstance(error, HandshakeError) and isinstance(error.__cause__, TimeoutError):
        return "net/http: TLS handshake timeout"
    if isinstance(error, HTTPTimeout):
        return "net/http: timeout awaiting response headers" if url else "i/o timeout"
    return _tls_problem(error) or _system_words(error)


def _system_words(error: BaseException) -> str:
    """The message of the system's error behind the library's, else the library's own."""
    cause = _cause(error)
    if cause is None:
        broken = error.__cause__ or error.__context__
        if isinstance(broken, BadStatusLine):
            return "net/http: HTTP/1.x transport connection broken: malformed HTTP response"
        return str(broken if isinstance(broken, HTTPException) else error)
    words = "EOF" if isinstance(cause, RemoteDisconnected | ssl.SSLEOFError) else (cause.strerror or str(cause))
    return words if words.isupper() else words[:1].lower() + words[1:]


def _tls_problem(error: BaseException) -> str:
    """Why there is no TLS with this server; empty if that is not certain."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return "tls: failed to verify certificate: x509: " + _CERTIFICATE_PROBLEMS.get(cause.verify_code, cause.verify_message)
    return _TLS_PROBLEMS.get(cause.reason, "") if isinstance(cause, ssl.SSLError) else ""


def _cause(error: BaseException) -> OSError | None:
    """The system's error behind the library's. Any other error among the contexts is about an earlier request."""
    cause: BaseException | None = error
    while isinstance(cause, HTTPError | HTTPException | OSError):
        if isinstance(cause, OSError) and (cause.strerror or isinstance(cause, RemoteDisconnected)):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def _address(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc if parts.port else f"{parts.netloc}:{443 if parts.scheme == 'https' else 80}"
