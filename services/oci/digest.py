"""Content digests: `algorithm ":" hex`.

    digest    := algorithm ":" encoded
    algorithm := "sha256" | "sha384" | "sha512"
    encoded   := lower-case hexadecimal, 64, 96 or 128 characters

Source: OCI image spec, descriptor.md, "Digests"; the registered algorithms and go-digest's sha384.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from stowage.services.errors import InvalidDigest

_HEX_LENGTHS = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[a-f0-9]+")
_OTHER = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A well-formed digest; an instance is always safe in a path, a URL and an SQL value."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read `sha256:<hex>`; raises InvalidDigest for anything outside the grammar, in go-digest's words."""
        algorithm, _, encoded = text.partition(":")
        if not algorithm or not encoded:
            raise InvalidDigest("invalid checksum digest format")
        if algorithm not in _HEX_LENGTHS:
            raise InvalidDigest("unsupported digest algorithm" if _OTHER.fullmatch(text) else "invalid checksum digest format")
        if len(encoded) != _HEX_LENGTHS[algorithm]:
            raise InvalidDigest("invalid checksum digest length")
        if not _HEX.fullmatch(encoded):
            raise InvalidDigest("invalid checksum digest format")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of these bytes."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    @property
    def short(self) -> str:
        """The first 12 hexadecimal characters, as progress lines and tables show them."""
        return self.hex[:12]

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


class Digester:
    """The digest of bytes that arrive in chunks."""

    def __init__(self, algorithm: str = "sha256") -> None:
        self._hash = hashlib.new(algorithm)

    def update(self, chunk: bytes | memoryview) -> None:
        self._hash.update(chunk)

    @property
    def digest(self) -> Digest:
        """The digest of all bytes so far."""
        return Digest(self._hash.name, self._hash.hexdigest())
