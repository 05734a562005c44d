"""Unwanted answers, read as failures."""

from __future__ import annotations

from urllib3.response import BaseHTTPResponse

from stowage.services.registry.challenges import challenges
from stowage.services.registry.error_document import ErrorDocument
from stowage.services.registry.failure import Failed, Failure, Refusal
from stowage.services.registry.retry_after import retry_after
from stowage.services.registry.transport import MAX_ERROR_BODY, read_bounded

NO_RANGES = frozenset({400, 416, 501})
"""How a registry without ranges, or without that many bytes, may answer a Range request."""


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
