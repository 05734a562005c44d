"""From stored blobs to a visible image: what pull, load and import do last.

The facts of a manifest are recorded when everything that it needs is there; names change in the same transaction. This is what makes an
image visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from services.engine import Engine
from services.errors import InvalidContent
from services.images.platform_choice import wanted_manifests
from services.metadata.protocol import Edge, Kind, ManifestFacts, Role, Transaction
from services.oci import mediatypes
from services.oci.config import ImageConfig
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest
from services.oci.platform import PlatformMatcher
from services.oci.reference import dangling_name

MAX_DEPTH = 4
"""Levels of indexes below a target; real images have one, an archive's nested layout two."""

MAX_REPEATS = 100
"""How often an index may list one digest: nested, such lists would otherwise multiply to billions of ways from a name to a blob."""


MAX_REPEATED_CONFIGS = 64 << 20
"""Bytes of configs that manifests may share, each time but the first: every image keeps its own copy, so a few blobs could fill the disk."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A manifest ready to be recorded: its facts and, of an image, its raw config."""

    facts: ManifestFacts
    config: bytes | None


class Configs:
    """The configs that an operation has read, each once for however many manifests that share it."""

    def __init__(self) -> None:
        self._read: dict[Digest, tuple[bytes, ImageConfig | InvalidContent]] = {}
        self._repeated = 0

    def read(self, engine: Engine, digest: Digest) -> tuple[bytes, ImageConfig | InvalidContent]:
        """The raw config, and what it says or what is wrong with it; raises InvalidContent where too much of it would be recorded again."""
        if digest in self._read:
            self._repeated += len(self._read[digest][0])
            if self._repeated > MAX_REPEATED_CONFIGS:
                raise InvalidContent(f"too many manifests share their configs, which are more than {MAX_REPEATED_CONFIGS} bytes together")
        else:
            self._read[digest] = _parse_config(engine.content.read(digest))
        return self._read[digest]


def _parse_config(raw: bytes) -> tuple[bytes, ImageConfig | InvalidContent]:
    try:
        return raw, ImageConfig.parse(raw)
    except InvalidContent as exc:
        return raw, exc


@dataclass(frozen=True, slots=True)
class _Reading:
    """A graph while it is read: what the operation brought, manifests found so far, and whether each digest that was visited is whole."""

    engine: Engine
    tx: Transaction
    brought: AbstractSet[Digest]
    matcher: PlatformMatcher | None
    configs: Configs
    found: list[Recorded] = field(default_factory=list)
    visited: dict[Digest, bool] = field(default_factory=dict)


def read_graph(
    engine: Engine,
    brought: AbstractSet[Digest],
    target: Descriptor,
    *,
    matcher: PlatformMatcher | None = None,
    configs: Configs | None = None,
) -> list[Recorded]:
    """Read target and every descendant manifest that was brought, children before parents; verify that each is complete.

    `brought` is what the operation's lease holds; `configs` are those that it has read for other targets.

    Parses each document strictly, checks the diff_ids of image configs against the layer facts, refuses nesting deeper than a few levels,
    and raises InvalidContent ("missing blob ...") where a manifest that was read lacks its config or a layer that is not foreign.
    An index may lack any of its manifests, but not all of them. One that was not brought is there only if it is recorded already:
    what else is in the store is a broken transfer's, or about to be swept. One whose config is absent counts as absent too: engines save
    a manifest without its content when its platform is not there (containerd archive.WithSkipMissing).

    With a matcher, manifests that an index lists for other platforms are left out, but not the attestations of what is taken; an index may
    end with none (containerd FilterPlatforms, SetReferrers).
    """
    with engine.metadata.read() as tx:
        reading = _Reading(engine, tx, brought, matcher, configs or Configs())
        if not tx.graph.present([target.digest]):
            raise InvalidContent(f"missing blob {target.digest}")
        if mediatypes.is_manifest(target.media_type):
            _read_manifest(reading, target, optional=False)
        elif mediatypes.is_index(target.media_type):
            _read_index(reading, target, depth=0)
        else:
            raise InvalidContent(f"unsupported media type {target.media_type!r} for {target.digest}: only manifests and indexes are images")
    return reading.found


def _read_index(reading: _Reading, descriptor: Descriptor, *, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise InvalidContent(f"index {descriptor.digest} is nested too deeply")
    index = Index.parse(_read_document(reading, descriptor), descriptor.media_type)
    _check_repeats(index)
    present = _check_sizes(reading, index.manifests)
    wanted = wanted_manifests(index.manifests, reading.matcher) if reading.matcher else index.manifests
    complete = [_read_child(reading, child, depth=depth + 1) for child in wanted if child.digest in present]
    if index.manifests and not any(complete) and reading.matcher is None:
        raise InvalidContent(f"missing blob {index.manifests[0].digest}: index {descriptor.digest} has none of its manifests")
    edges = tuple(Edge(Role.MANIFEST, child) for child in index.manifests)
    facts = ManifestFacts(descriptor.digest, descriptor.media_type, Kind.INDEX, content_size=0, edges=edges)
    reading.found.append(Recorded(facts, None))


def _check_repeats(index: Index) -> None:
    for digest, times in Counter(child.digest for child in index.manifests).items():
        if times > MAX_REPEATS:
            raise InvalidContent(f"index lists {digest} more than {MAX_REPEATS} times")


def _read_child(reading: _Reading, child: Descriptor, *, depth: int) -> bool:
    """Read a present child of an index once; says whether it counts as present."""
    if child.digest not in reading.brought:
        return reading.tx.graph.manifest(child.digest) is not None
    if child.digest not in reading.visited:
        reading.visited[child.digest] = True
        if mediatypes.is_index(child.media_type):
            _read_index(reading, child, depth=depth)
        elif mediatypes.is_manifest(child.media_type):
            reading.visited[child.digest] = _read_manifest(reading, child, optional=True)
    return reading.visited[child.digest]


def _read_manifest(reading: _Reading, descriptor: Descriptor, *, optional: bool) -> bool:
    """Read a complete manifest; an optional one without its config is left out and False returned."""
    manifest = Manifest.parse(_read_document(reading, descriptor), descriptor.media_type)
    if optional and not reading.tx.graph.present([manifest.config.digest]):
        return False
    _check_present(reading, manifest)
    is_image = mediatypes.is_config(manifest.config.media_type) and not manifest.is_pseudo
    raw, config = _read_config(reading, manifest.config, required=is_image)
    if is_image and config is not None:
        _check_diff_ids(reading, manifest, config)
    facts = ManifestFacts(
        descriptor.digest,
        descriptor.media_type,
        Kind.IMAGE if is_image else Kind.ARTIFACT,
        content_size=0,
        platform=config.platform if config else None,
        created=config.created if config else None,
        labels=config.container.labels if config else None,
        edges=(Edge(Role.CONFIG, manifest.config), *(Edge(Role.LAYER, layer) for layer in manifest.layers)),
    )
    reading.found.append(Recorded(facts, raw))
    return True


def _read_document(reading: _Reading, descriptor: Descriptor) -> bytes:
    if descriptor.size > MAX_MANIFEST_BYTES:
        raise InvalidContent(f"manifest {descriptor.digest} is larger than {MAX_MANIFEST_BYTES} bytes")
    _check_sizes(reading, [descriptor])
    return reading.engine.content.read(descriptor.digest)


def _read_config(reading: _Reading, descriptor: Descriptor, *, required: bool) -> tuple[bytes | None, ImageConfig | None]:
    """The raw and parsed config; an artifact's is kept only if it happens to read as an image config, as moby reads it then."""
    if descriptor.size > MAX_MANIFEST_BYTES:
        if required:
            raise InvalidContent(f"image config {descriptor.digest} is larger than {MAX_MANIFEST_BYTES} bytes")
        return None, None
    raw, config = reading.configs.read(reading.engine, descriptor.digest)
    if isinstance(config, ImageConfig):
        return raw, config
    if required:
        raise config
    return None, None


def _check_sizes(reading: _Reading, descriptors: list[Descriptor] | tuple[Descriptor, ...]) -> set[Digest]:
    """Which of these are present; raises InvalidContent where a present blob has another size than its descriptor says."""
    sizes = reading.tx.graph.blob_sizes([descriptor.digest for descriptor in descriptors])
    for descriptor in descriptors:
        size = sizes.get(descriptor.digest, descriptor.size)
        if size != descriptor.size:
            raise InvalidContent(f"unexpected size {size} of blob {descriptor.digest}, expected {descriptor.size}")
    return set(sizes)


def _check_present(reading: _Reading, manifest: Manifest) -> None:
    needed = (manifest.config, *manifest.layers)
    present = _check_sizes(reading, needed)
    for descriptor in needed:
        if descriptor.digest not in present and not mediatypes.is_foreign_layer(descriptor.media_type):
            raise InvalidContent(f"missing blob {descriptor.digest}")


def _check_diff_ids(reading: _Reading, manifest: Manifest, config: ImageConfig) -> None:
    """Compare what each tar layer unpacks to with what the config says; layers of other kinds are not readable here."""
    diff_ids = config.diff_ids or ()
    if not all(mediatypes.is_layer(layer.media_type) for layer in manifest.layers):
        return
    if len(diff_ids) != len(manifest.layers):
        raise InvalidContent("mismatched image rootfs and manifest layers")
    facts = reading.tx.graph.layers([layer.digest for layer in manifest.layers])
    present = reading.tx.graph.present([layer.digest for layer in manifest.layers])
    for layer, diff_id in zip(manifest.layers, diff_ids, strict=True):
        if layer.digest not in present or not mediatypes.is_tar_layer(layer.media_type):
            continue
        known = facts.get(layer.digest)
        if known is None:
            raise InvalidContent(f"layer {layer.digest} is not a readable {layer.media_type} stream")
        if known.diff_id != diff_id:
            raise InvalidContent(f'wrong diff id calculated on extraction "{known.diff_id}", expected "{diff_id}"')


def record_graph(tx: Transaction, graph: list[Recorded]) -> None:
    """Record every manifest of the graph inside the caller's transaction."""
    for recorded in graph:
        tx.graph.add_manifest(recorded.facts, recorded.config)


def assign_name(tx: Transaction, name: str, target: Descriptor, now: int) -> Digest | None:
    """Give a canonical name this target, with Docker's rules for dangling images (moby createOrReplaceImage, ensureDanglingImage).

    A target that loses its last name is kept as moby-dangling@<digest> (its digest is returned, else None); the new target's own dangling
    name, if there is one, goes away. Assigning the target that the name has already changes nothing, nor does giving the dangling name to
    a target that has any name.
    """
    dangling = dangling_name(target.digest)
    if name == dangling:
        if not tx.images.by_target(target.digest):
            tx.images.put(name, target, now)
        return None
    previous = tx.images.get(name)
    if previous is not None and previous.target.digest == target.digest:
        return None
    tx.images.put(name, target, now)
    tx.images.delete(dangling)
    if previous is None or tx.images.by_target(previous.target.digest):
        return None
    tx.images.put(dangling_name(previous.target.digest), previous.target, now)
    return previous.target.digest
