"""A request that failed: what happened, as a value without words.

Inside the client a failure is raised as `Failed`. Only the methods that use cases call know what was being done. They turn it into an
EngineError in the words of one of Docker's two clients (services/registry/words.py).

A registry may ask for something before it answers, and say what is wrong with a token:

    WWW-Authenticate: Bearer realm="https://auth.example/token",service="registry.example",scope="repository:team/app:pull"
    WWW-Authenticate: Bearer realm="https://auth.example/token",error="insufficient_scope"
    WWW-Authenticate: Basic realm="registry.example"

The body of an error may be a document, or its older form:

    {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": ...}]}
    {"details": "..."}

Source: RFC 9110 sections 10.2.3 and 11.6.1, RFC 6750 section 3; OCI distribution spec "Error Codes"; distribution registry/api/errcode,
registry/api/v2/errors.go and registry/client/errors.go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from urllib3.exceptions import ConnectTimeoutError, InvalidHeader, NewConnectionError
from urllib3.response import BaseHTTPResponse
from urllib3.util import Retry

from stowage.services import errors
from stowage.services.errors import EngineError, InvalidContent, RegistryFailure
from stowage.services.oci import gojson
from stowage.services.oci.gojson import Fields
from stowage.services.registry.connections import MAX_ERROR_BODY, HandshakeError, read_bounded
from stowage.services.registry.credentials import without_query
from stowage.services.registry.hosts import Endpoint

_SCHEME = re.compile(r"\s*(?:,\s*)?([A-Za-z]+)(?:\s+|$)(?!=)")
_PARAMETER = re.compile(r'\s*(?:,\s*)?([A-Za-z_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')


Sentence = tuple[type[EngineError], str]
"""The kind of error, and the message that a client reads."""

NO_RANGES = frozenset({400, 416, 501})
"""How a registry without ranges, or without that many bytes, may answer a Range request."""
_PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
_RETRY = Retry(retry_after_max=10**9)

CODES: dict[str, tuple[type[EngineError], str]] = {
    "UNKNOWN": (errors.RegistryFailure, "unknown error"),
    "UNSUPPORTED": (errors.NotAllowed, "The operation is unsupported."),
    "UNAUTHORIZED": (errors.Unauthorized, "authentication required"),
    "DENIED": (errors.Forbidden, "requested access to the resource is denied"),
    "UNAVAILABLE": (errors.Unavailable, "service unavailable"),
    "TOOMANYREQUESTS": (errors.ResourceExhausted, "too many requests"),
    "DIGEST_INVALID": (errors.InvalidParameter, "provided digest did not match uploaded content"),
    "SIZE_INVALID": (errors.InvalidParameter, "provided length did not match content length"),
    "NAME_INVALID": (errors.InvalidParameter, "invalid repository name"),
    "TAG_INVALID": (errors.InvalidParameter, "manifest tag did not match URI"),
    "NAME_UNKNOWN": (errors.NotFound, "repository name not known to registry"),
    "MANIFEST_UNKNOWN": (errors.NotFound, "manifest unknown"),
    "MANIFEST_INVALID": (errors.InvalidParameter, "manifest invalid"),
    "MANIFEST_UNVERIFIED": (errors.InvalidParameter, "manifest failed signature verification"),
    "MANIFEST_BLOB_UNKNOWN": (errors.InvalidParameter, "blob unknown to registry"),
    "BLOB_UNKNOWN": (errors.NotFound, "blob unknown to registry"),
    "BLOB_UPLOAD_UNKNOWN": (errors.NotFound, "blob upload unknown to registry"),
    "BLOB_UPLOAD_INVALID": (errors.NotFound, "blob upload invalid"),
    "PAGINATION_NUMBER_INVALID": (errors.InvalidParameter, "invalid number of results requested"),
}
"""Each code's kind of failure, which follows its HTTP status, and its message if the registry sends none."""


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to authenticate that a registry offers; scheme in lower case."""

    scheme: str
    parameters: dict[str, str]


def parse_challenges(headers: list[str]) -> list[Challenge]:
    """Read WWW-Authenticate headers. Reading a header stops at anything outside the grammar."""
    found: list[Challenge] = []
    for header in headers:
        position = 0
        while scheme := _SCHEME.match(header, position):
            position = scheme.end()
            parameters: dict[str, str] = {}
            while parameter := _PARAMETER.match(header, position):
                name, quoted, bare = parameter.groups()
                parameters[name.lower()] = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                position = parameter.end()
            found.append(Challenge(scheme[1].lower(), parameters))
    return found


def find_answerable(response: BaseHTTPResponse, base: str) -> Challenge | None:
    """The challenge to answer, if any: a 401 from the origin of `base`, not from a redirect's target; bearer is preferred to basic."""
    if response.status != 401 or origin(response.url or "") != origin(base):
        return None
    known = [challenge for challenge in challenges(response) if challenge.scheme in ("bearer", "basic")]
    return max(known, key=lambda challenge: challenge.scheme, default=None)


def stated_error(challenges: Iterable[Challenge]) -> str:
    """What these say is wrong with the token that was sent, e.g. insufficient_scope; empty if they say nothing."""
    return next((challenge.parameters["error"] for challenge in challenges if "error" in challenge.parameters), "")


def challenges(response: BaseHTTPResponse) -> list[Challenge]:
    """The challenges in an answer, in order."""
    return parse_challenges(response.headers.getlist("WWW-Authenticate"))


def origin(url: str) -> tuple[str, str]:
    """The scheme and the `host[:port]` of a URL."""
    return urlsplit(url)[:2]


@dataclass(frozen=True, slots=True)
class StatedError:
    """One entry of `errors`; `detail` may be anything."""

    code: str
    message: str
    detail: object


@dataclass(frozen=True, slots=True)
class ErrorDocument:
    """The body of an error. If it cannot be read, `unreadable` says why in Go's words; otherwise it is empty."""

    errors: tuple[StatedError, ...] = ()
    details: str = ""
    unreadable: str = ""

    @classmethod
    def read(cls, body: bytes) -> ErrorDocument:
        """Read a body, whatever it is."""
        details: object = ""
        try:
            document = gojson.decode(body)
            fields = Fields({} if document is None else document, "struct { Errors []errcode.Error }")
            details = fields.value("details")
            stated = tuple(_read_error(Fields(entry, "errcode.Error")) for entry in fields.array("errors") or ())
            return cls(stated, details if isinstance(details, str) else "")
        except InvalidContent as exc:
            return cls((), details if isinstance(details, str) else "", str(exc))


def _read_error(fields: Fields) -> StatedError:
    return StatedError(fields.text("code"), fields.text("message"), fields.value("detail"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that was not wanted. `denied` says that it rejected a token that was fetched for the request."""

    status: int
    content_type: str
    body: bytes
    document: ErrorDocument
    challenges: tuple[Challenge, ...] = ()
    denied: bool = False


class NoAuthorization(Exception):
    """A registry's challenge cannot be answered; `retry_after` as in EngineError."""

    retry_after: float | None = None


class NoCredentials(NoAuthorization):
    """The challenge wants a name and password, and the client has none for this registry."""


class NoToken(NoAuthorization):
    """The token server gives no token; `wanted` is its kind, such as `anonymous token`."""

    def __init__(self, wanted: str, failure: Failure) -> None:
        super().__init__(wanted)
        self.wanted = wanted
        self.failure = failure
        self.retry_after = failure.retry_after


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that did not succeed: an answer that refuses it, or an exception that says why there is no answer.

    `url` is where the request ended up, possibly after a redirect. Method and URL are empty if no request is to blame; the exception then
    says everything. `retry_after` is as in EngineError. `endpoint` is the registry's endpoint that was asked, None for another server.
    """

    method: str
    url: str
    reason: Refusal | Exception
    retry_after: float | None = None
    endpoint: Endpoint | None = None

    @property
    def is_absence(self) -> bool:
        """Whether the answer is that the thing does not exist."""
        return isinstance(self.reason, Refusal) and self.reason.status == 404

    def suggests_plain_http(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint may answer in plain HTTP: it does not speak TLS, or nothing listens on the default port.

        A connection that breaks later, or the target of a redirect, does not show that.
        """
        if not endpoint.may_be_plain or urlsplit(self.url).netloc != endpoint.host:
            return False
        if isinstance(self.reason, NewConnectionError | ConnectTimeoutError):
            return urlsplit(self.url).port is None
        return isinstance(self.reason, HandshakeError)


class Failed(Exception):
    """Carries a failure to the place that words it; never leaves the client."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.method} {without_query(failure.url)}")
        self.failure = failure


def failure_of(exc: Failed | RegistryFailure) -> Failure:
    """The failure that was raised. A RegistryFailure already has its sentence: about a setting, a rule, or the content of an answer."""
    return exc.failure if isinstance(exc, Failed) else Failure("", "", exc, exc.retry_after)


@contextmanager
def worded(word: Callable[[Failure], Sentence]) -> Iterator[None]:
    """Raise failures inside as the errors that `word` makes of them."""
    try:
        yield
    except (Failed, RegistryFailure) as exc:
        failure = failure_of(exc)
        kind, words = word(failure)
        error = kind(words)
        error.retry_after = failure.retry_after
        raise error from exc


def refused(method: str, response: BaseHTTPResponse, *, denied: bool = False) -> Failed:
    """The failure in an answer, whose body is read; raises RegistryFailure if that breaks off."""
    return Failed(read_refusal(method, response, read_bounded(response, MAX_ERROR_BODY), denied=denied))


def read_refusal(method: str, response: BaseHTTPResponse, body: bytes, *, denied: bool = False) -> Failure:
    """The failure in an answer with this body."""
    refusal = Refusal(
        status=response.status,
        content_type=response.headers.get("Content-Type", ""),
        body=body,
        document=ErrorDocument.read(body),
        challenges=tuple(challenges(response)),
        denied=denied,
    )
    return Failure(method, response.url or "", refusal, retry_after(response))


def retry_after(response: BaseHTTPResponse) -> float | None:
    """Seconds after which another try may get another status, 0 if the answer does not say; None if it would not."""
    if response.status not in _PASSING_STATUSES:
        return None
    try:
        return _RETRY.get_retry_after(response) or 0.0
    except (InvalidHeader, ValueError, OverflowError):
        return 0.0
