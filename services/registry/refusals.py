"""What a registry's refusal says, in the words of the client that Docker inspects and logs in with.

The body is `{"errors": [{"code": ..., "message": ..., "detail": ...}]}`, an older one `{"details": ...}`, or a text:

    one error        manifest unknown: not known to registry
    no message       manifest unknown
    several          errors:\\ndenied: ...\\nunauthorized: ...\\n

Source: OCI distribution spec "Error Codes"; distribution registry/client/errors.go, registry/api/errcode and registry/api/v2/errors.go;
moby daemon/server/httpstatus/status.go.
"""

from __future__ import annotations

import json

from services.errors import (
    EngineError,
    Forbidden,
    InvalidContent,
    InvalidParameter,
    NotFound,
    RegistryFailure,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
    Unsupported,
)
from services.oci import gojson
from services.oci.fields import Fields
from services.registry.errors import status_line

_CODES: dict[str, tuple[type[EngineError], str]] = {
    "UNSUPPORTED": (Unsupported, "The operation is unsupported."),
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
}
_UNKNOWN = (RegistryFailure, "unknown error")
_BY_STATUS = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}
_JSON_TYPES = ("application/json", "application/vnd.api+json")


def refusal(status: int, content_type: str, body: bytes) -> EngineError:
    """The error that an answer of this status and Content-Type is."""
    if not 400 <= status < 500:
        return RegistryFailure(f"received unexpected HTTP status: {status_line(status)}")
    if content_type.partition(";")[0].strip().lower() not in _JSON_TYPES:
        return _of_text(status, body.decode("utf-8", "replace"))
    try:
        return _of_document(status, Fields(gojson.decode(body), "errcode.Errors"))
    except InvalidContent as exc:
        return _unreadable(status, str(exc), body)


def _of_text(status: int, text: str) -> EngineError:
    code = _BY_STATUS.get(status, "UNKNOWN")
    return _CODES.get(code, _UNKNOWN)[0](f"{_spoken(code)}: {text}")


def _of_document(status: int, document: Fields) -> EngineError:
    details = document.value("details")
    if details and isinstance(details, str):
        return _of_text(status, details)
    errors = [_read_error(Fields(entry, "errcode.Error")) for entry in document.array("errors") or ()]
    if not errors:
        raise InvalidContent("no error details found in HTTP response body")
    kind, message = errors[0]
    return kind(message if len(errors) == 1 else "".join(["errors:\n", *(f"{message}\n" for _, message in errors)]))


def _read_error(entry: Fields) -> tuple[type[EngineError], str]:
    """One error: its kind, and its code and message; the code alone where nothing is added to it."""
    code = entry.text("code")
    kind, default = _CODES.get(code, _UNKNOWN)
    spoken = _spoken(code if code in _CODES else "UNKNOWN")
    message = entry.text("message")
    return kind, spoken if entry.value("detail") is None and message in ("", default) else f"{spoken}: {message}"


def _unreadable(status: int, reason: str, body: bytes) -> EngineError:
    if status == 401:
        return Unauthorized("unauthorized: authentication required")
    shown = json.dumps(body.decode("utf-8", "replace"), ensure_ascii=False)
    return RegistryFailure(f"error parsing HTTP {status} response body: {reason}: {shown}")


def _spoken(code: str) -> str:
    return code.lower().replace("_", " ")
