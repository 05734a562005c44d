"""What a registry says in the body of an error, and the error codes.

    {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": ...}]}
    {"details": "..."}                                                                         an older form

Source: OCI distribution spec "Error Codes"; distribution registry/api/errcode, registry/api/v2/errors.go and registry/client/errors.go.
"""

from __future__ import annotations

from dataclasses import dataclass

from stowage.services import errors
from stowage.services.errors import EngineError, InvalidContent
from stowage.services.oci import gojson
from stowage.services.oci.gojson import Fields

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
