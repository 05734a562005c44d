"""Take names from an image, and remove it when none are left.

Source: moby daemon/containerd/image_delete.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.engine import Engine
from services.errors import Conflict, InvalidParameter, Unsupported
from services.gc.collector import sweep
from services.images.resolve import familiar_name, image_not_found, is_dangling, resolve_all
from services.metadata.protocol import ImageRecord, Transaction
from services.oci.digest import Digest
from services.oci.platform import Platform
from services.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class Removal:
    """One thing that went away: a name, or an image's ID; the other is empty."""

    untagged: str = ""
    deleted: str = ""


def delete_image(engine: Engine, name: str, *, force: bool = False, platforms: Sequence[Platform] = ()) -> list[Removal]:
    """Untag `name`, or delete the image where that is its only name or where `name` is its ID; what only it needed is freed at once.

    Raises InvalidParameter for a blank or malformed name, ImageNotFound, and Conflict for an ID with several names unless `force`.
    """
    if not name.strip():
        raise InvalidParameter("image name cannot be blank")
    if platforms:
        _refuse_platforms(force)
    with engine.metadata.write() as tx:
        record, sharing = resolve_all(tx, name)
        target = sharing[0].target.digest
        named = None if _begins_id(target, name) else Reference.parse(record.name if record else name)
        same = _same_references(named, sharing)
        if named and not same:
            raise image_not_found(named)
        if named and len(same) < len(sharing):
            return _untag(tx, same)
        if len(same) < len(sharing) and not force:
            raise Conflict(f"conflict: unable to delete {target.short} (must be forced) - image is referenced in multiple repositories")
        removals = _untag(tx, sharing)
    sweep(engine.metadata, engine.content, [target])
    return [*removals, Removal(deleted=str(target))]


def _refuse_platforms(force: bool) -> None:
    """Never take a request to remove single platforms for one to remove the image."""
    if not force:
        raise InvalidParameter("Content will be removed from all images referencing this variant. Use \u2014-force to force delete.")
    raise Unsupported("removing single platforms of an image is not supported")


def _begins_id(target: Digest, name: str) -> bool:
    return str(target).startswith(name) or target.hex.startswith(name)


def _untag(tx: Transaction, records: list[ImageRecord]) -> list[Removal]:
    """Forget these names; a dangling image's is nobody's and not told."""
    for record in records:
        tx.images.delete(record.name)
    return [Removal(untagged=familiar_name(record)) for record in records if not is_dangling(record)]


def _same_references(named: Reference | None, records: list[ImageRecord]) -> list[ImageRecord]:
    """Those of an image's records that go when `named` goes: the same name and tag, its digest while no other tag is left, and the dangling.

    Without `named` the first named record stands for it. A name given by digest means every tag of its repository.
    """
    tag = named.tag if named else None
    every_tag = named is not None and named.tag is None and named.digest is not None
    same: list[ImageRecord] = []
    by_digest: list[ImageRecord] | None = []
    for record in records:
        reference = None if is_dangling(record) else Reference.parse_canonical(record.name)
        if reference is None or (every_tag and named and reference.name == named.name):
            same.append(record)
        elif named is None:
            named, tag = reference, reference.tag
            same.append(record)
        elif reference.name != named.name:
            continue
        elif reference.tag is None:
            by_digest = by_digest if by_digest is None else [*by_digest, record]
        elif tag in (None, reference.tag):
            tag = reference.tag
            same.append(record)
        else:
            by_digest = None
    return same + (by_digest or [])
