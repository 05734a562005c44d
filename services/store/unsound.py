"""Blobs of an image that are recorded but damaged or missing.

A save takes everything that is recorded below a target, including parts that the operation which acknowledged the image did not bring:
other platforms of an index, and referrers of its manifests. So a writer checks all of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.damage import sound_blobs
from stowage.services.metadata.records import Role
from stowage.services.metadata.store import Transaction
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform


@dataclass(frozen=True, slots=True)
class UnsoundPart:
    """A blob that has a row and is not sound, and the platform of the manifest that it is or belongs to, if that has one."""

    blob: Descriptor
    platform: Platform | None


def unsound_parts(
    engine: Engine, tx: Transaction, roots: Iterable[Descriptor], *, checked: AbstractSet[Digest] = frozenset()
) -> list[UnsoundPart]:
    """The recorded blobs of these manifests and of all below them that are not sound, ordered by digest; foreign layers are left out.

    Unmarked blobs among `checked` are sound: the operation has just verified them. The cost depends on what is below the roots.
    """
    listed = {root.digest: root for root in roots}
    below = tx.graph.descendants(listed)
    unmarked = tx.graph.unmarked(below)
    unchecked = {digest: size for digest, size in unmarked.items() if digest not in checked}
    sound = sound_blobs(engine.content, unchecked) | (unmarked.keys() - unchecked.keys())
    sizes = tx.graph.blob_sizes(below - sound)
    if not sizes:
        return []
    parts = _parts(tx, listed, below)
    return [
        UnsoundPart(replace(parts[digest].blob, size=size), parts[digest].platform)
        for digest, size in sorted(sizes.items(), key=lambda each: str(each[0]))
        if digest in parts
    ]


def refuse_unsound(engine: Engine, roots: Iterable[Descriptor], leased: AbstractSet[Digest]) -> None:
    """Raise InvalidContent if the store has more of these manifests than an archive, such as another platform, and that is damaged."""
    with engine.metadata.read() as tx:
        unsound = unsound_parts(engine, tx, roots, checked=leased)
    if not unsound:
        return
    blob, platform = unsound[0].blob, unsound[0].platform
    of, pull = (f" of platform {platform}", "pull that platform, ") if platform and platform.os not in ("", "unknown") else ("", "")
    raise InvalidContent(
        f"missing blob {blob.digest}{of}: the store's copy is damaged and the archive has none; {pull}load an archive that has it, "
        "or delete the image and load it again"
    )


def _parts(tx: Transaction, listed: dict[Digest, Descriptor], below: set[Digest]) -> dict[Digest, UnsoundPart]:
    """Every blob that a save of these manifests would take."""
    manifests = tx.graph.manifests(below)
    children = [edge.child for facts in manifests.values() for edge in facts.edges if edge.role is Role.MANIFEST]
    documents = listed | {child.digest: child for child in children}
    parts = {digest: UnsoundPart(document, document.platform) for digest, document in documents.items()}
    for facts in manifests.values():
        named = parts.get(facts.digest) or UnsoundPart(Descriptor(facts.media_type, facts.digest, 0), None)
        platform = named.platform or facts.platform
        parts[facts.digest] = UnsoundPart(named.blob, platform)
        parts |= {edge.child.digest: UnsoundPart(edge.child, platform) for edge in facts.needed if edge.child.digest not in parts}
    return parts
