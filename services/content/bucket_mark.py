"""The mark of a bucket: which store its blobs belong to, and in which database that is. Two lines of text."""

from __future__ import annotations

from stowage.services.content.bucket import Bucket
from stowage.services.content.bucket_errors import Absent

MARK = "store-id"


def read_mark(bucket: Bucket) -> tuple[str, str] | None:
    """The id of the store and its database; None if the bucket has no mark yet."""
    try:
        identifier, _, owner = bucket.get(MARK).decode(errors="replace").partition("\n")
    except Absent:
        return None
    return identifier, owner.strip()


def create_mark(bucket: Bucket, identifier: str, owner: str) -> None:
    """Write the mark unless there is one."""
    bucket.create(MARK, _text(identifier, owner))


def write_mark(bucket: Bucket, identifier: str, owner: str) -> None:
    """Write the mark, whatever it was before."""
    bucket.put(MARK, _text(identifier, owner))


def _text(identifier: str, owner: str) -> bytes:
    return f"{identifier}\n{owner}\n".encode()
