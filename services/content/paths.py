"""The layout of a content store on disk, and the one mapping from digests and keys to paths.

    <root>/
        store-id                     the id of the store, also kept in its database; a line of text
        blobs/<algorithm>/<hex>      a complete, verified blob (the same folder as in an OCI image layout)
        ingest/<name>/data           a partial; <name> is the ingest's key with "-" for ":"
        locks/<name>                 held (flock) by the writer of that key as long as it transfers; removed when not held
        locks/<name>.settle          held while the file and the row of that digest are created or removed
        ingest/<name>/<hex>          small blobs that are published together, under a key of their own

Directories are 0700 and files 0600.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from stowage.services.errors import Internal, InvalidDigest
from stowage.services.oci.digest import Digest

_KEY = re.compile(r"[a-z0-9]+(:[a-z0-9]+){0,2}")


DIGEST_LOCK = ".settle"
"""The suffix of the lock file that locks a digest."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths under one root."""

    root: Path

    @property
    def store_id(self) -> Path:
        return self.root / "store-id"

    @property
    def blobs(self) -> Path:
        return self.root / "blobs"

    @property
    def ingests(self) -> Path:
        return self.root / "ingest"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    def blob(self, digest: Digest) -> Path:
        return self.blobs / digest.algorithm / digest.hex

    def partial(self, key: str) -> Path:
        """The bytes of a partial; its folder is the path's parent."""
        return self.ingests / _name(key) / "data"

    def member(self, key: str, digest: Digest) -> Path:
        """One of the small blobs that are published together under a key."""
        return self.ingests / _name(key) / digest.hex

    def lock(self, key: str) -> Path:
        return self.locks / _name(key)

    def digest_lock(self, digest: Digest) -> Path:
        return self.locks / f"{_name(str(digest))}{DIGEST_LOCK}"


def key_of(name: str) -> str | None:
    """The key of a partial's folder or of a lock file; None for a name that is not the store's."""
    key = name.replace("-", ":")
    return key if _KEY.fullmatch(key) else None


def locked_by(name: str) -> Digest | None:
    """The digest that a lock file locks; None for any other name."""
    algorithm, _, encoded = name.removesuffix(DIGEST_LOCK).partition("-")
    return digest_of(algorithm, encoded) if name.endswith(DIGEST_LOCK) else None


def target_of(key: str) -> tuple[Digest | None, bool]:
    """The digest in a key, if any, and whether the key is one beside the digest's own."""
    algorithm, _, rest = key.partition(":")
    encoded, _, beside = rest.partition(":")
    return (Digest.parse(f"{algorithm}:{encoded}") if encoded else None), bool(beside)


def digest_of(algorithm: str, name: str) -> Digest | None:
    """The digest of a file in blobs/<algorithm>; None for a name that is not the store's."""
    try:
        return Digest.parse(f"{algorithm}:{name}")
    except InvalidDigest:
        return None


def _name(key: str) -> str:
    if not _KEY.fullmatch(key):
        raise Internal(f"not a key of an ingest: {key!r}")
    return key.replace(":", "-")
