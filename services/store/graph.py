"""The graph of an image, read and verified: its target and every manifest below it that an operation stored.

Nothing is recorded here; see services/store/publish.py.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.damage import sound_blobs
from stowage.services.metadata.records import Edge, Kind, ManifestDocument, Role
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import is_pseudo
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor, trimmed
from stowage.services.oci.digest import Digest
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest, wanted_manifests
from stowage.services.oci.platform import PlatformMatcher
from stowage.services.store.documents import ConfigFacts, Documents
from stowage.services.store.layer_checks import check_layers

MAX_DEPTH = 4
"""Levels of indexes below a target; real images have one, an archive's nested layout two."""

_MAX_TEXT = 256 << 10
"""How many characters types, annotations, URLs and data of what a manifest lists may have to be recorded. Usual are some KiB."""


@dataclass(frozen=True, slots=True)
class ReadManifest:
    """A manifest that was read and is whole; `config` is what is recorded as its image config, none of an index.

    `problem` says why it cannot be unpacked, if it is accepted all the same.
    """

    document: ManifestDocument
    config: Digest | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Reading:
    """A graph while it is read: what the operation stored, the manifests found so far, and what was visited below the target."""

    engine: Engine
    tx: Transaction
    leased: AbstractSet[Digest]
    matcher: PlatformMatcher | None
    tolerant: bool
    documents: Documents
    found: list[ReadManifest] = field(default_factory=list)
    sizes: dict[Digest, int | None] = field(default_factory=dict)
    visited: set[Digest] = field(default_factory=set)


def read_graph(
    engine: Engine,
    leased: AbstractSet[Digest],
    target: Descriptor,
    *,
    matcher: PlatformMatcher | None = None,
    tolerant: bool = False,
    documents: Documents | None = None,
    known: Iterable[Digest] = (),
) -> list[ReadManifest]:
    """Read target and every descendant manifest that was stored, children before parents; verify that each is complete.

    `leased` is what the operation's lease holds, `documents` what it has read for other targets. What is `known` is looked up together.

    Parses each document strictly, checks the diff_ids of image configs against the layer facts, refuses nesting deeper than a few levels,
    and raises InvalidContent ("missing blob ...") if the config or a non-foreign layer of a manifest that was read is missing.
    Any manifest of an index may be missing. One that was not stored by the operation counts as present only if it is recorded already:
    anything else in the store is from a broken transfer, or about to be swept. One whose config is absent counts as absent too: engines
    save a manifest without its content if its platform is not present (containerd archive.WithSkipMissing).

    With a matcher, manifests that an index lists for other platforms are left out, but not the attestations of those taken; an index may
    end up with none (containerd FilterPlatforms, SetReferrers).

    A tolerant reader accepts what Docker loads although it cannot be checked or unpacked, and says so in `ReadManifest.problem`: layers
    that are not a stream, and a target that is neither manifest nor index.
    """
    with engine.metadata.read() as tx:
        reading = _Reading(engine, tx, leased, matcher, tolerant, documents or Documents())
        if target.digest not in _sound(reading, _unmarked(reading, {target.digest, *known})):
            raise InvalidContent(f"missing blob {target.digest}")
        if mediatypes.is_manifest(target.media_type):
            _read_manifest(reading, target, optional=False)
        elif mediatypes.is_index(target.media_type):
            _read_index(reading, target, depth=0)
        elif not tolerant or target.media_type in mediatypes.SCHEMA1 or _could_be_manifest(reading, target):
            raise InvalidContent(f"unsupported media type {target.media_type!r} for {target.digest}: only manifests and indexes are images")
        else:
            document = ManifestDocument(target.digest, target.media_type, Kind.ARTIFACT)
            reading.found.append(ReadManifest(document, None, "descriptor is neither a manifest or index"))
    return reading.found


def whole_manifests(engine: Engine, tx: Transaction, digests: Iterable[Digest]) -> dict[Digest, ManifestDocument]:
    """Which of these manifests are recorded and sound, including their config and layers; an index needs none of its manifests."""
    recorded = tx.graph.manifests(digests)
    needs = {digest: {digest, *(edge.child.digest for edge in facts.needed)} for digest, facts in recorded.items()}
    sound = sound_blobs(engine.content, tx.graph.unmarked(set().union(*needs.values())))
    return {digest: recorded[digest] for digest, needed in needs.items() if needed <= sound}


def _could_be_manifest(reading: _Reading, target: Descriptor) -> bool:
    """Whether these bytes may be a manifest elsewhere: under another type they would be recorded permanently without what they list."""
    _check_sizes(reading, [target])
    return target.size <= MAX_MANIFEST_BYTES and reading.documents.could_be_manifest(reading.engine, target.digest)


def _read_index(reading: _Reading, descriptor: Descriptor, *, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise InvalidContent(f"index {descriptor.digest} is nested too deeply")
    index = Index.parse(_read_document(reading, descriptor), descriptor.media_type)
    present = _sound(reading, _check_sizes(reading, index.manifests))
    wanted = wanted_manifests(index.manifests, reading.matcher) if reading.matcher else index.manifests
    for child in sorted(wanted, key=is_pseudo):  # images, which are checked, before the same digest as a non-image
        if child.digest in present:
            _read_child(reading, child, depth=depth + 1)
    document = ManifestDocument(descriptor.digest, descriptor.media_type, Kind.INDEX, edges=_edges(Role.MANIFEST, index.manifests))
    reading.found.append(ReadManifest(document, None))


def _read_child(reading: _Reading, child: Descriptor, *, depth: int) -> None:
    """Read a present child of an index, once, if the operation stored it."""
    if child.digest in reading.visited or child.digest not in reading.leased:
        return
    reading.visited.add(child.digest)
    if mediatypes.is_index(child.media_type):
        _read_index(reading, child, depth=depth)
    elif mediatypes.is_manifest(child.media_type):
        _read_manifest(reading, child, optional=True)


def _read_manifest(reading: _Reading, descriptor: Descriptor, *, optional: bool) -> None:
    """Read a complete manifest; an optional one without its config is left out."""
    manifest = Manifest.parse(_read_document(reading, descriptor), descriptor.media_type)
    if optional and not _sound(reading, _unmarked(reading, [manifest.config.digest])):
        return
    present = _check_present(reading, manifest)
    is_image = mediatypes.is_config(manifest.config.media_type) and not manifest.is_pseudo
    is_unpacked = is_image and not is_pseudo(descriptor)
    config = _read_config(reading, manifest.config, required=is_unpacked)
    problem = ""
    if is_unpacked and config:
        problem = check_layers(reading.tx.graph, reading.engine.content, manifest, present, config.diff_ids, tolerant=reading.tolerant)
    document = ManifestDocument(
        descriptor.digest,
        descriptor.media_type,
        Kind.IMAGE if is_image else Kind.ARTIFACT,
        platform=config.platform if config else None,
        created=config.created if config else None,
        labels=config.labels if config else None,
        edges=_edges(Role.CONFIG, [manifest.config]) + _edges(Role.LAYER, manifest.layers),
    )
    reading.found.append(ReadManifest(document, manifest.config.digest if config else None, problem))


def _edges(role: Role, children: Sequence[Descriptor]) -> tuple[Edge, ...]:
    """The edges to record. Long texts are left out of them: other requests would read those of many images."""
    is_long = sum(child.text_size for child in children) > _MAX_TEXT
    return tuple(Edge(role, trimmed(child) if is_long else child) for child in children)


def _read_document(reading: _Reading, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_MANIFEST_BYTES:
        raise InvalidContent(f"manifest {descriptor.digest} is larger than {MAX_MANIFEST_BYTES} bytes")
    _check_sizes(reading, [descriptor])
    return reading.documents.manifest(reading.engine, descriptor.digest)


def _read_config(reading: _Reading, descriptor: Descriptor, *, required: bool) -> ConfigFacts | None:
    """What the config says; an artifact's is kept only if it happens to read as an image config, as moby reads it then."""
    if descriptor.size > MAX_MANIFEST_BYTES:
        if required:
            raise InvalidContent(f"image config {descriptor.digest} is larger than {MAX_MANIFEST_BYTES} bytes")
        return None
    config = reading.documents.config(reading.engine, descriptor.digest)
    if isinstance(config, ConfigFacts):
        return config
    if required:
        raise config
    return None


def _sound(reading: _Reading, unmarked: Mapping[Digest, int]) -> set[Digest]:
    """Which of these blobs are sound; those that the operation stored have just been checked or written."""
    others = {digest: size for digest, size in unmarked.items() if digest not in reading.leased}
    return unmarked.keys() - others.keys() | sound_blobs(reading.engine.content, others)


def _unmarked(reading: _Reading, digests: Collection[Digest]) -> dict[Digest, int]:
    """Which of these have a row that is not marked, with their sizes; the transaction sees one state, so each is looked up once."""
    unknown = set(digests) - reading.sizes.keys()
    if unknown:
        reading.sizes.update(dict.fromkeys(unknown) | reading.tx.graph.unmarked(unknown))
    return {digest: size for digest in digests if (size := reading.sizes[digest]) is not None}


def _check_sizes(reading: _Reading, descriptors: Sequence[Descriptor]) -> dict[Digest, int]:
    """The sizes of the unmarked blobs among these; raises InvalidContent if one differs from its descriptor."""
    sizes = _unmarked(reading, [descriptor.digest for descriptor in descriptors])
    for descriptor in descriptors:
        size = sizes.get(descriptor.digest, descriptor.size)
        if size != descriptor.size:
            raise InvalidContent(f"unexpected size {size} of blob {descriptor.digest}, expected {descriptor.size}")
    return sizes


def _check_present(reading: _Reading, manifest: Manifest) -> set[Digest]:
    needed = (manifest.config, *manifest.layers)
    present = _sound(reading, _check_sizes(reading, needed))
    for descriptor in needed:
        if descriptor.digest not in present and not mediatypes.is_foreign_layer(descriptor.media_type):
            raise InvalidContent(f"missing blob {descriptor.digest}")
    return present
