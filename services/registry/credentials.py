"""Credentials as a client sends them, and errors and log lines without them.

They are base64 of a JSON object in the X-Registry-Auth header, or in an old client's push that object itself. The keys are username,
password, identitytoken, registrytoken and serveraddress, in any case. The encoding should be base64url with padding. Clients also send the
standard alphabet, or leave out the padding. A server may echo what it was sent, so its words are searched for secrets.

Source: moby api/pkg/authconfig (Decode), api/types/registry (AuthConfig).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import quote, quote_plus

from stowage.services.errors import EngineError, InvalidContent, InvalidParameter
from stowage.services.oci import gojson
from stowage.services.oci.gojson import Fields

_KEYS = ("username", "password", "identitytoken", "registrytoken", "serveraddress")
_SHORTEST = 4
"""Characters of a secret. Anything shorter could occur in any sentence."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The content of X-Registry-Auth; the repr shows none of it."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)
    server_address: str = field(default="", repr=False)

    @property
    def secret(self) -> str:
        """The secret, whichever kind it is; empty for an anonymous client."""
        return self.registry_token or self.identity_token or self.password

    @property
    def basic(self) -> str:
        """Name and password as basic authentication sends them; empty unless both are set."""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode() if self.username and self.password else ""


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
        credentials = _read(document)
    except InvalidContent:
        return None
    return credentials if credentials.secret else None


def parse_auth(document: bytes) -> Credentials:
    """Read the JSON object of a login; raises InvalidParameter in Docker's words."""
    try:
        return _read(document)
    except InvalidContent as exc:
        raise InvalidParameter(f"invalid X-Registry-Auth header: {_decoder_words(str(exc))}") from exc


def _read(document: bytes) -> Credentials:
    """The fields of the object; raises InvalidContent if one is not a string."""
    if not document.strip():
        raise InvalidContent("EOF")
    value = gojson.decode(document)
    fields = Fields({} if value is None else value, "registry.AuthConfig")
    return Credentials(*(fields.text(key) for key in _KEYS))


def _decoder_words(problem: str) -> str:
    """What Go's Decoder, which reads one value of a stream, says when Unmarshal says `problem`."""
    if problem.endswith("after top-level value"):
        return "multiple JSON documents not allowed"
    words = problem.replace("unexpected end of JSON input", "unexpected EOF").replace("struct field registry.", "struct field ")
    return f"invalid JSON: {words}"


def _standard(text: str) -> str:
    """The same base64 in the standard alphabet, padded."""
    bare = text.strip().rstrip("=").replace("-", "+").replace("_", "/")
    return bare + "=" * (-len(bare) % 4)


@contextmanager
def hiding(secrets: Callable[[], list[str]]) -> Iterator[None]:
    """Redact these secrets, read after the error and in any escaped form, in any EngineError raised inside."""
    try:
        yield
    except EngineError as exc:
        words = str(exc)
        forms = {form for secret in secrets() if len(secret) >= _SHORTEST for form in _forms(secret)}
        for form in sorted(forms, key=len, reverse=True):
            words = words.replace(form, "[secret]")
        if words == str(exc):
            raise
        blackened = type(exc)(words)
        blackened.retry_after = exc.retry_after
        raise blackened from None


def without_query(url: str) -> str:
    """The URL without its query, which may carry a signature."""
    return url.partition("?")[0]


def public_url(url: str) -> str:
    """The URL without user info, query and fragment. Of a text that is not a URL, nothing before an `@` is left."""
    scheme, mark, rest = without_query(url).partition("#")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return scheme.rpartition("@")[2] + mark + authority.rpartition("@")[2] + slash + path


def _forms(secret: str) -> tuple[str, ...]:
    """A secret as it is, in a host name, in a URL, in a form, and in JSON."""
    return (
        secret,
        secret.lower(),
        quote(secret, safe="", errors="replace"),
        quote_plus(secret, errors="replace"),
        gojson.quote(secret)[1:-1],
    )
