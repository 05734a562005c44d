"""What Go's net/http says, as Docker's clients pass it on: why a request got no answer, and how a status is printed.

    Get "https://registry.example/v2/": dial tcp registry.example:443: connect: connection refused
    404 Not Found

Source: Go net/url (Error), net/http (client.go, status.go), net (OpError), crypto/tls/alert.go and crypto/x509/verify.go.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from http.client import BadStatusLine, HTTPException, RemoteDisconnected
from urllib.parse import urlsplit

from urllib3.exceptions import ConnectTimeoutError, HTTPError, LocationValueError, NameResolutionError, NewConnectionError, ProxyError
from urllib3.exceptions import TimeoutError as HTTPTimeout

from stowage.services.registry.connections import HandshakeError
from stowage.services.registry.redaction import without_query

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
