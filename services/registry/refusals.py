"""What a registry's refusal says, in the words of distribution's client, with which Docker inspects, logs in and lists tags.

The body is `{"errors": [{"code": ..., "message": ..., "detail": ...}]}`, an older one `{"details": ...}`, or a text:

    one error        manifest unknown: not known to registry
    no message       manifest unknown
    several          errors:\\ndenied: ...\\nunauthorized: ...\\n

What a challenge says is wrong with a token comes first.

Source: OCI distribution spec "Error Codes"; distribution registry/client/errors.go, registry/api/errcode and registry/api/v2/errors.go;
moby daemon/server/httpstatus/status.go and daemon/internal/distribution/errors.go (translatePullError).
"""

from __future__ import annotations

from dataclasses import dataclass

from urllib3.response import BaseHTTPResponse

from services.errors import (
    EngineError,
    Forbidden,
    InvalidContent,
    InvalidParameter,
    NotAllowed,
    NotFound,
    RegistryFailure,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
)
from services.oci import gojson
from services.oci.fields import Fields
from services.registry.challenges import challenges
from services.registry.errors import access_denied, retry_after, status_line

_CODES: dict[str, tuple[type[EngineError], str]] = {
    "UNSUPPORTED": (NotAllowed, "The operation is unsupported."),
    "UNAUTHORIZED": (Unauthorized, "authentication required"),
    "DENIED": (Forbidden, "requested access to the resource is denied"),
    "UNAVAILABLE": (Unavailable, "service unavailable"),
    "TOOMANYREQUESTS": (ResourceExhausted, "too many requests"),
    "DIGEST_INVALID": (InvalidParameter, "provided digest did not match uploaded content"),
    "SIZE_INVALID": (InvalidParameter, "provided length did not match content length"),
    "NAME_INVALID": (InvalidParameter, "invalid repository name"),
    "TAG_INVALID": (InvalidParameter, "manifest tag did not match URI"),
    "NAME_UNKNOWN": (NotFound, "repository name not known to registry"),
    "MANIFEST_UNKNOWN": (NotFound, "manifest unknown"),
    "MANIFEST_INVALID": (InvalidParameter, "manifest invalid"),
    "MANIFEST_UNVERIFIED": (InvalidParameter, "manifest failed signature verification"),
    "MANIFEST_BLOB_UNKNOWN": (InvalidParameter, "blob unknown to registry"),
    "BLOB_UNKNOWN": (NotFound, "blob unknown to registry"),
    "BLOB_UPLOAD_UNKNOWN": (NotFound, "blob upload unknown to registry"),
    "BLOB_UPLOAD_INVALID": (NotFound, "blob upload invalid"),
    "PAGINATION_NUMBER_INVALID": (InvalidParameter, "invalid number of results requested"),
}
_UNKNOWN = (RegistryFailure, "unknown error")
_BY_STATUS = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}
_BY_TOKEN_ERROR = {"invalid_token": "UNAUTHORIZED", "insufficient_scope": "DENIED"}
_ABSENT = {
    "DENIED": str(access_denied("{}")),
    "NAME_UNKNOWN": "repository {} not found",
    "MANIFEST_UNKNOWN": "manifest for {} not found",
}
"""What a list of tags that is refused so is called."""
_JSON_TYPES = ("application/json", "application/vnd.api+json")


@dataclass(frozen=True, slots=True)
class _Said:
    """One error: its code, empty for what is none of a registry's, and its words; `bare` where they say no more than the code."""

    code: str
    words: str
    bare: bool = False

    @property
    def kind(self) -> type[EngineError]:
        return _CODES.get(self.code, _UNKNOWN)[0]


def refusal(response: BaseHTTPResponse, body: bytes) -> EngineError:
    """The error that an answer with this body is."""
    said = _said(response, body)
    words = said[0].words if len(said) == 1 else "".join(["errors:\n", *(f"{error.words}\n" for error in said)])
    return _passing(said[0].kind(words), response)


def tags_refusal(response: BaseHTTPResponse, body: bytes, repository: str) -> EngineError:
    """The error for a list of tags of this repository that is refused: the first that the registry tells."""
    said = _said(response, body)[0]
    error = said.kind(said.words)
    if said.code in _ABSENT and not said.bare:
        error = NotFound(f"{_ABSENT[said.code].format(repository)}: {said.words}")
    return _passing(error, response)


def _passing(error: EngineError, response: BaseHTTPResponse) -> EngineError:
    error.retry_after = retry_after(response)
    return error


def _said(response: BaseHTTPResponse, body: bytes) -> list[_Said]:
    """Every error that the answer tells, at least one."""
    status = response.status
    if not 400 <= status < 500:
        return [_Said("", f"received unexpected HTTP status: {status_line(status)}")]
    return _of_token(response) + _of_body(status, response.headers.get("Content-Type", ""), body)


def _of_token(response: BaseHTTPResponse) -> list[_Said]:
    """What the first challenge says that tells an error, if any does."""
    for challenge in challenges(response):
        code = _BY_TOKEN_ERROR.get(challenge.parameters.get("error", ""))
        if challenge.scheme == "bearer" and code:
            return [_worded(code, challenge.parameters.get("error_description") or _CODES[code][1])]
    return []


def _of_body(status: int, content_type: str, body: bytes) -> list[_Said]:
    if content_type.partition(";")[0].strip().lower() not in _JSON_TYPES:
        return [_worded(_BY_STATUS.get(status, "UNKNOWN"), body.decode("utf-8", "replace"))]
    try:
        document = gojson.decode(body)
        return _of_document(status, Fields({} if document is None else document, "struct { Errors []errcode.Error }"))
    except InvalidContent as exc:
        return [_unreadable(status, str(exc), body)]


def _of_document(status: int, document: Fields) -> list[_Said]:
    details = document.value("details")
    if details and isinstance(details, str):
        return [_worded(_BY_STATUS.get(status, "UNKNOWN"), details)]
    errors = [_read_error(Fields(entry, "errcode.Error")) for entry in document.array("errors") or ()]
    if not errors:
        raise InvalidContent("no error details found in HTTP response body")
    return errors


def _read_error(entry: Fields) -> _Said:
    """One error: its code and message; the code alone where nothing is added to it."""
    stated, message = entry.text("code"), entry.text("message")
    code = stated if stated in _CODES else "UNKNOWN"
    if entry.value("detail") is None and message in ("", _CODES.get(code, _UNKNOWN)[1]):
        return _Said(code, _spoken(code), bare=True)
    return _worded(code, message)


def _unreadable(status: int, reason: str, body: bytes) -> _Said:
    if status == 401:
        return _worded("UNAUTHORIZED", "authentication required")
    shown = gojson.quote(body.decode("utf-8", "replace"))
    return _Said("", f"error parsing HTTP {status} response body: {reason}: {shown}")


def _worded(code: str, message: str) -> _Said:
    return _Said(code, f"{_spoken(code)}: {message}")


def _spoken(code: str) -> str:
    return code.lower().replace("_", " ")
