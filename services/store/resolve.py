"""Find the record of an image by a name, a name with a digest, an ID, or the beginning of an ID.

Also forms a name from the fields `repo` and `tag` of a request.

Source: moby daemon/containerd/image.go (resolveImage, resolveAllReferences); daemon/server/httputils/form.go (RepoTagReference).
"""

from __future__ import annotations

import re

from stowage.services.errors import ImageNotFound, InvalidReference, NotFound
from stowage.services.metadata.records import ImageRecord
from stowage.services.metadata.store import Transaction
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import DANGLING_PREFIX, Reference, parse_any, shown_name

_TRUNCATED_ID = re.compile(r"(?:sha256:)?([a-f0-9]{4,64})")


def truncated_id(text: str) -> str | None:
    """The hexadecimal digits of what may be an ID or the beginning of one, else None."""
    match = _TRUNCATED_ID.fullmatch(text)
    return match[1] if match else None


def image_not_found(parsed: Reference | Digest) -> ImageNotFound:
    """The error that names what was asked for as Docker shows it."""
    return ImageNotFound(str(parsed) if isinstance(parsed, Digest) else parsed.tagged().familiar)


def is_dangling(record: ImageRecord) -> bool:
    """Whether this is the internal record of an untagged image."""
    return record.name.startswith(DANGLING_PREFIX)


def familiar_name(record: ImageRecord) -> str:
    """The record's name as Docker shows it: familiar, or the ID of a dangling image."""
    return shown_name(record.name, record.target.digest)


def resolve_image(tx: Transaction, text: str) -> ImageRecord:
    """Find the one image that `text` means.

    A name takes precedence over the beginning of an ID that looks the same; `repository@digest` needs a name of that repository on that
    target. Raises InvalidReference, ImageNotFound, or NotFound("ambiguous reference") if the beginning fits several targets.
    """
    parsed = parse_any(text)
    if isinstance(parsed, Digest):
        found = tx.images.by_target(parsed, most=1)
    elif parsed.digest is not None:
        found = tx.images.by_target(parsed.digest, repository=parsed.name, most=1)
        if not found and (dangling := tx.images.get(f"{parsed.familiar_name}@{parsed.digest}")):  # its internal name is not canonical
            found = [dangling]
    elif (named := tx.images.get(str(parsed.tagged()))) is not None:
        return named
    else:
        prefix = truncated_id(text)
        found = tx.images.by_id_prefix(prefix) if prefix else []
        _refuse_ambiguous(found)
    if not found:
        raise image_not_found(parsed)
    return found[0]


def resolve_all(tx: Transaction, text: str) -> tuple[ImageRecord | None, list[ImageRecord]]:
    """Find the record whose exact name is `text` (or None), and every record with the same target, ordered by name.

    The list is never empty. Raises as `resolve_image` does.
    """
    parsed = parse_any(text)
    prefix = truncated_id(text)
    if isinstance(parsed, Digest):
        if prefix is None:
            raise InvalidReference("invalid name reference")
        return None, _sharing(tx, parsed, parsed)
    record = tx.images.get(str(parsed.tagged()))
    if prefix is not None:
        return _resolve_prefix(tx, parsed, prefix, record)
    target = record.target.digest if record else parsed.digest
    if target is None:
        raise image_not_found(parsed)
    return record, _sharing(tx, target, parsed)


def _resolve_prefix(
    tx: Transaction, parsed: Reference, prefix: str, named: ImageRecord | None
) -> tuple[ImageRecord | None, list[ImageRecord]]:
    """Resolve what may be a name, the beginning of an ID, or both; both with different targets is ambiguous."""
    found = tx.images.by_id_prefix(prefix)
    _refuse_ambiguous([*found, named] if named else found)
    if named:
        return named, tx.images.by_target(named.target.digest)
    if not found:
        raise image_not_found(parsed)
    return None, tx.images.by_target(found[0].target.digest)


def _sharing(tx: Transaction, target: Digest, parsed: Reference | Digest) -> list[ImageRecord]:
    records = tx.images.by_target(target)
    if not records:
        raise image_not_found(parsed)
    return records


def _refuse_ambiguous(records: list[ImageRecord]) -> None:
    if len({record.target.digest for record in records}) > 1:
        raise NotFound("ambiguous reference")


def repo_tag_reference(repo: str, tag: str) -> Reference | None:
    """The tagged reference to give to an image, or None if `repo` is empty.

    A tag inside `repo` counts unless `tag` is given; without either it is `latest`. Raises InvalidReference, also for a repo with a digest.
    """
    if not repo:
        return None
    reference = Reference.parse(repo)
    if reference.digest is not None:
        raise InvalidReference("cannot import digest reference")
    return reference.with_tag(tag) if tag else reference.tagged()
