"""The scrub: checks that everything the rows promise is present, byte for byte, and that the rows themselves are sound.

It runs alongside a working service. What a sweep or a writer changes meanwhile is checked twice, so it is never mistaken for damage.
Damaged blobs are marked, and the next load, import or pull that contains one replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from stowage.services.archive.bounds import Bounds
from stowage.services.archive.compression import LARGEST_DECODER
from stowage.services.archive.layer import LayerDigester
from stowage.services.budget import Budget
from stowage.services.content.protocol import ContentStore
from stowage.services.errors import EngineError, InvalidContent
from stowage.services.files import storage_errors
from stowage.services.gc.collector import ORPHAN_GRACE_SECONDS, remove_unreadable_lists
from stowage.services.gc.damage import bytes_problem, file_problem, mark_blob
from stowage.services.metadata.records import Kind, LayerFacts, ManifestDocument, Role, Selection
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest, Digester
from stowage.services.oci.manifest import Index, Manifest
from stowage.services.oci.mediatypes import is_manifest
from stowage.services.oci.reference import shown_name
from stowage.services.progress import Advance, unobserved

_CHUNK_BYTES = 1 << 20

_UNREAD = "if that stays, delete the images that need it before you load or pull them again"
"""Advice about a blob without a mark, which a load would take for sound."""


class FindingKind(StrEnum):
    """Damage is a broken promise, and affects images. An orphan (a file or an object without a row) and a partial are leftovers for the
    next collection. Unseen is what could not be looked at.
    """

    DAMAGE = "damage"
    AFFECTED = "affected"
    ORPHAN = "orphan"
    PARTIAL = "partial"
    UNSEEN = "unseen"


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem, and the sentence that describes it."""

    kind: FindingKind
    sentence: str


def verify_store(metadata: MetadataStore, content: ContentStore, *, deep: bool = False, advance: Advance = unobserved) -> Iterator[Finding]:
    """Hash every blob again and check that every manifest and image has what it needs; yields findings as they are made.

    With `deep` every layer is also inflated and compared with its recorded diff_id and size, at several times the cost. If there is no
    finding of kind DAMAGE, every image is whole; the images that damage affects follow it. Reads every blob, with `deep` layers twice.
    Marks blobs whose file is missing, has another size or, read to its end, another digest. Removes the marks of sound blobs and lists
    of files that cannot be read, and changes nothing else. `advance` is called with the bytes that were hashed. Raises Internal for a
    database that cannot be read at all.
    """
    problems = metadata.problems()
    for problem in problems:
        yield Finding(FindingKind.DAMAGE, problem)
    is_broken = any(problem.startswith("database:") for problem in problems)  # then nothing is changed that need not be
    for digest in () if is_broken else remove_unreadable_lists(metadata):
        sentence = f"the list of files of layer {digest} was unreadable and is removed; it is read again when somebody looks"
        yield Finding(FindingKind.DAMAGE, sentence)
    damaged: set[Digest] = set()
    for digest, sentence in chain(_verify_blobs(metadata, content, deep, advance), _verify_manifests(metadata, content, damaged)):
        damaged.add(digest)
        yield Finding(FindingKind.DAMAGE, sentence)
    yield from _verify_images(metadata)
    yield from _find_affected(metadata, damaged)
    yield from _find_orphans(metadata, content)
    for each in content.unnamed(ORPHAN_GRACE_SECONDS):
        yield Finding(FindingKind.ORPHAN if each.location else FindingKind.UNSEEN, each.sentence)
    for key, size, held in content.partials():
        if not held:
            yield Finding(FindingKind.PARTIAL, f"partial blob {key}: {size} bytes that no writer holds")


def _verify_blobs(metadata: MetadataStore, content: ContentStore, deep: bool, advance: Advance) -> Iterator[tuple[Digest, str]]:
    with metadata.read() as tx:
        blobs = tx.graph.all_blobs()
        damages = tx.graph.damages(blobs)
        layers = tx.graph.layers(blobs) if deep else {}
    hashed = _Hashed(advance, sum(blobs.values()))
    for digest, size in sorted(blobs.items()):
        blob = _Blob(digest, size, layers.get(digest), damages.get(digest))
        problem = _verify_blob(metadata, content, blob, hashed)
        if problem and _is_present(metadata, digest):
            yield digest, f"blob {digest} {problem}"


@dataclass(slots=True)
class _Hashed:
    """The progress of hashing, in bytes; a blob that changes meanwhile is hashed again."""

    advance: Advance
    total: int
    done: int = 0

    def add(self, size: int) -> None:
        self.done = min(self.done + size, self.total)
        self.advance(self.done, self.total)


@dataclass(frozen=True, slots=True)
class _Blob:
    """The rows of a blob: `facts` if they are to be verified, and `mark` if it is known to be damaged."""

    digest: Digest
    size: int
    facts: LayerFacts | None
    mark: str | None


def _verify_blob(metadata: MetadataStore, content: ContentStore, blob: _Blob, hashed: _Hashed) -> str | None:
    """What is wrong with a blob, checked again if its file changed meanwhile. Sets or removes its mark."""
    while True:
        version = content.version(blob.digest)
        try:
            damage = file_problem(content, blob.digest, blob.size) or bytes_problem(blob.digest, _hash(content, blob.digest, hashed))
            problem = damage or (_layer_problem(content, blob.digest, blob.facts) if blob.facts else None)
        except EngineError as error:  # which may be temporary
            damage, problem = blob.mark, f"cannot be read: {error}; {_UNREAD}"
        if content.version(blob.digest) == version:
            break
    if damage != blob.mark:
        mark_blob(metadata, content, blob.digest, damage, version=version)
    return problem


def _hash(content: ContentStore, digest: Digest, hashed: _Hashed) -> Digest:
    digester = Digester(digest.algorithm)
    for chunk in _chunks(content, digest):
        digester.update(chunk)
        hashed.add(len(chunk))
    return digester.digest


def _chunks(content: ContentStore, digest: Digest) -> Iterator[bytes]:
    with content.open(digest) as blob, storage_errors():
        while chunk := blob.read(_CHUNK_BYTES):
            yield chunk


def _layer_problem(content: ContentStore, digest: Digest, facts: LayerFacts) -> str | None:
    """What is wrong with the facts of a sound blob, which is inflated no further than they say."""
    try:
        bounds = Bounds(max_ratio=0, max_bytes=facts.size, memory=Budget(LARGEST_DECODER))
        with closing(LayerDigester(bounds, algorithm=digest.algorithm)) as layer:
            for chunk in _chunks(content, digest):
                layer.feed(chunk)
            found = layer.finish(digest)
    except InvalidContent:
        found = None
    if found == (facts.diff_id, facts.size):
        return None
    return f"is not a layer of {facts.size} bytes with the diff_id {facts.diff_id}, as recorded"


def _verify_manifests(metadata: MetadataStore, content: ContentStore, damaged: set[Digest]) -> Iterator[tuple[Digest, str]]:
    """Check the rows of every manifest; the document of a damaged one is not read again, since it says nothing about them."""
    with metadata.read() as tx:
        recorded = tx.graph.all_manifests()
    for digest in sorted(recorded):
        for problem in _manifest_problems(metadata, content, digest, readable=digest not in damaged):
            if _is_present(metadata, digest):
                yield digest, f"manifest {digest} {problem}"


def _manifest_problems(metadata: MetadataStore, content: ContentStore, digest: Digest, *, readable: bool) -> Iterator[str]:
    with metadata.read() as tx:
        facts = tx.graph.manifest(digest)
        config = tx.graph.config(digest)
        present = tx.graph.present(edge.child.digest for edge in facts.edges) if facts else set()
    if facts is None:
        return
    for edge in facts.needed:
        if edge.child.digest not in present:
            yield f"is missing its {edge.role} {edge.child.digest}"
    if config is not None and Digest.of(config) not in {edge.child.digest for edge in facts.edges if edge.role == Role.CONFIG}:
        yield "has a recorded config that differs from its document"
    if not readable:
        return
    try:
        children = [child.digest for child in _children(content, facts)]
    except EngineError as error:
        yield f"cannot be read: {error}"
    else:
        if children != [edge.child.digest for edge in facts.edges]:
            yield "has recorded edges that differ from its document"


def _children(content: ContentStore, facts: ManifestDocument) -> Iterable[Descriptor]:
    """What a manifest's document lists; a target of another kind lists nothing, has any size and is not read."""
    if facts.kind == Kind.INDEX:
        return Index.parse(content.read(facts.digest), facts.media_type).manifests
    if not is_manifest(facts.media_type):
        return ()
    manifest = Manifest.parse(content.read(facts.digest), facts.media_type)
    return (manifest.config, *manifest.layers)


def _verify_images(metadata: MetadataStore) -> Iterator[Finding]:
    with metadata.read() as tx:
        recorded = tx.graph.all_manifests()
        lost = sorted((name, target) for name, target in tx.targets.names([""], Selection()) if Digest.parse(target) not in recorded)
    for name, target in lost:
        yield Finding(FindingKind.DAMAGE, f"image {name} names {target}, which is not a recorded manifest")


def _find_affected(metadata: MetadataStore, damaged: set[Digest]) -> Iterator[Finding]:
    with metadata.read() as tx:
        records = [record for digest in tx.graph.ancestors(damaged) for record in tx.images.by_target(digest)]
    for record in sorted(records, key=lambda record: record.name):
        shown = shown_name(record.name, record.target.digest)
        yield Finding(FindingKind.AFFECTED, f"image {shown}: load or pull it again, or delete it")


def _find_orphans(metadata: MetadataStore, content: ContentStore) -> Iterator[Finding]:
    sizes = dict(content.blobs())
    with metadata.read() as tx:
        orphans = set(sizes) - tx.graph.present(sizes)
    for digest in sorted(orphans):
        if content.size(digest) is not None and not _is_present(metadata, digest):
            yield Finding(FindingKind.ORPHAN, f"blob {digest} has a file of {sizes[digest]} bytes and no row")


def _is_present(metadata: MetadataStore, digest: Digest) -> bool:
    with metadata.read() as tx:
        return digest in tx.graph.present([digest])
