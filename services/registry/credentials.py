"""Credentials as a client sends them: base64 of a JSON object in the X-Registry-Auth header, or in an old client's push that object
itself.

The keys are username, password, identitytoken, registrytoken and serveraddress, in any case. The encoding should be base64url with padding.
Clients also send the standard alphabet, or leave out the padding.

Source: moby api/pkg/authconfig (Decode), api/types/registry (AuthConfig).
"""

from __future__ import annotations

import base64
import binascii
from typing import NoReturn

from stowage.services.errors import InvalidContent, InvalidParameter
from stowage.services.oci import gojson
from stowage.services.oci.gojson import Fields
from stowage.services.registry.protocol import Credentials

_KEYS = ("username", "password", "identitytoken", "registrytoken", "serveraddress")


def decode_auth(header: str) -> Credentials | None:
    """Read an X-Registry-Auth header; None (anonymous) if it is empty, malformed or carries no secret."""
    try:
        document = base64.b64decode(_standard(header), validate=True)
    except (binascii.Error, ValueError):
        return None
    return read_auth(document)


def read_auth(document: bytes) -> Credentials | None:
    """Read the JSON object itself; returns None as `decode_auth` does."""
    try:
        value = gojson.decode(document)
    except InvalidContent:
        return None
    credentials = _credentials(value) if isinstance(value, dict) else None
    return credentials if credentials and credentials.secret else None


def parse_auth(document: bytes) -> Credentials:
    """Read the JSON object of a login; raises InvalidParameter in Docker's words."""
    try:
        value = gojson.decode(document) if document.strip() else _no_document()
        fields = Fields({} if value is None else value, "registry.AuthConfig")
        return Credentials(*(fields.text(key) for key in _KEYS))
    except InvalidContent as exc:
        raise InvalidParameter(f"invalid X-Registry-Auth header: {_decoder_words(str(exc))}") from exc


def _decoder_words(problem: str) -> str:
    """What Go's Decoder, which reads one value of a stream, says when Unmarshal says `problem`."""
    if problem.endswith("after top-level value"):
        return "multiple JSON documents not allowed"
    words = problem.replace("unexpected end of JSON input", "unexpected EOF").replace("struct field registry.", "struct field ")
    return f"invalid JSON: {words}"


def _no_document() -> NoReturn:
    raise InvalidContent("EOF")


def _standard(text: str) -> str:
    """The same base64 in the standard alphabet, padded."""
    bare = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    return bare + "=" * (-len(bare) % 4)


def _credentials(value: dict[str, object]) -> Credentials | None:
    """The fields of the object, or None if one is not a string."""
    folded = {key.lower(): field for key, field in value.items()}
    fields = [folded.get(key) or "" for key in _KEYS]
    texts = [field for field in fields if isinstance(field, str)]
    return Credentials(*texts) if len(texts) == len(fields) else None
