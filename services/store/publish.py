"""From stored blobs to a visible image: the last step of pull, load and import.

The facts of a manifest are recorded when everything that it needs is present; names change in the same transaction. This makes an
image visible.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from stowage.services.content.protocol import ContentStore
from stowage.services.gc.damage import bytes_problem, damaged
from stowage.services.metadata.records import Role
from stowage.services.metadata.store import Transaction
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import dangling_name
from stowage.services.store.graph import ReadManifest

NONE: Mapping[Digest, Iterable[Descriptor]] = {}
"""No referrers."""


def record_graph(
    tx: Transaction,
    graph: Sequence[ReadManifest],
    configs: Mapping[Digest, bytes],
    referrers: Mapping[Digest, Iterable[Descriptor]] = NONE,
) -> None:
    """Record every manifest of the graph inside the caller's transaction, with its config, and what refers to which of them.

    Raises InvalidContent if an image that lists one of them is then too large.
    """
    manifests = [(manifest.document, None if manifest.config is None else configs[manifest.config]) for manifest in graph]
    tx.graph.add_manifests(manifests)
    tx.graph.add_referrers(referrers)


def graph_content(graph: Iterable[ReadManifest]) -> set[Digest]:
    """The manifests that were read and the blobs they need."""
    documents = [manifest.document for manifest in graph]
    blobs = {edge.child.digest for document in documents for edge in document.edges if edge.role is not Role.MANIFEST}
    return blobs | {document.digest for document in documents}


def read_configs(content: ContentStore, graph: Iterable[ReadManifest]) -> dict[Digest, bytes]:
    """The configs of these manifests, read again before the transaction that records them."""
    return {manifest.config: _read_config(content, manifest.config) for manifest in graph if manifest.config is not None}


def _read_config(content: ContentStore, digest: Digest) -> bytes:
    """The bytes of a config. If it has been damaged since, the next reader outside of a transaction marks it."""
    raw = content.read(digest)
    if damage := bytes_problem(digest, Digest.of(raw, digest.algorithm)):
        raise damaged(digest, damage)
    return raw


def assign_name(tx: Transaction, name: str, target: Descriptor, now: int) -> Digest | None:
    """Give a canonical name this target, with Docker's rules for dangling images (moby createOrReplaceImage, ensureDanglingImage).

    A target that loses its last name is kept as moby-dangling@<digest> (its digest is returned, else None); the new target's own dangling
    name, if any, is removed. Assigning the target that the name already has changes nothing, nor does giving the dangling name to
    a target that has any name.
    """
    dangling = dangling_name(target.digest)
    if name == dangling:
        if not tx.images.by_target(target.digest, most=1):
            tx.images.put(name, target, now)
        return None
    known = tx.images.named([name, dangling])
    previous = known.get(name)
    if previous is not None and previous.target.digest == target.digest:
        return None
    tx.images.put(name, target, now)
    tx.images.delete(known.keys() & {dangling})
    if previous is None or tx.images.by_target(previous.target.digest, most=1):
        return None
    tx.images.put(dangling_name(previous.target.digest), previous.target, now)
    return previous.target.digest
