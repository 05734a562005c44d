"""The members of an image archive become blobs, and its entries descriptors of what to name.

A member `blobs/<algorithm>/<hex>` must be what its name says and is stored as it arrives, small ones a few dozen at a time. Other members are
known by their names only until manifest.json, often the last, says what they are: small ones wait in memory, large ones are stored, and what is
not needed is swept.

Member names are looked up, never opened: still a name that climbs out, a name given twice to different content, a hard link, a sparse file
and a device are refused, so that no two readers of one archive can disagree (CVE-2014-9358, and tarfile's many).

The documents may be larger than a manifest: with many images and names, an archive that was saved here must load again.

Source: containerd core/images/archive/importer.go.
"""

from __future__ import annotations

import posixpath
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from services.archive import docker_archive, oci_layout
from services.archive.docker_archive import ArchivedImage
from services.archive.stream import Readable, uncompressed
from services.archive.tarstream import Member, MemberType, TarReader
from services.engine import Engine
from services.errors import InvalidContent, InvalidDigest, InvalidReference
from services.gc.leases import Lease
from services.images.ingest import StoredBlob, store_blob
from services.images.small_blobs import SMALL_BYTES, SmallBlobs
from services.oci.config import ImageConfig
from services.oci.descriptor import Descriptor
from services.oci.digest import Digest
from services.oci.gojson import quote
from services.oci.manifest import MAX_MANIFEST_BYTES
from services.oci.mediatypes import DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST
from services.oci.platform import Platform
from services.oci.reference import Reference
from services.progress import Progress

MAX_DOCUMENT_BYTES = 20 << 20
"""Of index.json and manifest.json; containerd reads no more of the latter (jsonLimit)."""

MAX_DOCUMENT_VALUES = 1 << 19
"""In one of them, roughly: a document of nothing but tiny ones would take 50 times its size in memory."""

MAX_ENTRIES = 100_000
"""Names and nameless images of one archive; each costs a row and an event, but only a few bytes of a document."""

MAX_IMAGES = 20_000
"""Entries of manifest.json; each may cost a manifest and all that is read for it."""

_DOCUMENTS = frozenset({oci_layout.LAYOUT_FILE, oci_layout.INDEX_FILE, docker_archive.MANIFEST_FILE})
_REFUSED = frozenset({MemberType.HARDLINK, MemberType.SPECIAL, MemberType.SPARSE})
_HEAD_BYTES = 10
_MEMORY_BYTES = 32 << 20
_IMAGES_AT_ONCE = 64


@dataclass(slots=True)
class _Intake:
    """An archive while it is read: its documents, and every other member by name as small content or as a stored blob.

    `came` has what came under each name, so that one can be told that comes again: its digest, or where it links to. `blobs` stores what is
    small; what is read back has to be flushed before. Of configs that were read there are platform and number of layers, of layers media types.
    """

    engine: Engine
    lease: Lease
    blobs: SmallBlobs
    documents: dict[str, bytes] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, StoredBlob] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    came: dict[str, Digest | str] = field(default_factory=dict)
    configs: dict[Digest, tuple[Platform, int]] = field(default_factory=dict)
    types: dict[Digest, str] = field(default_factory=dict)
    memory: int = 0


def read_archive(engine: Engine, lease: Lease, source: Readable) -> Generator[Progress, None, list[Descriptor]]:
    """Store what the archive holds under the lease; returns its entries in order, one for each name, as an index.json lists them.

    Yields ticks. Raises InvalidContent in containerd's words where it has them.
    """
    intake = _Intake(engine, lease, SmallBlobs(engine, lease))
    with uncompressed(source, engine.bounds) as read:
        reader = TarReader(read)
        for member in reader:
            _take(intake, member, reader.chunks())
            yield Progress()
    intake.blobs.flush()
    if oci_layout.LAYOUT_FILE in intake.documents and oci_layout.parse_layout_version(intake.documents[oci_layout.LAYOUT_FILE]):
        return _layout_entries(intake)
    if docker_archive.MANIFEST_FILE in intake.documents:
        return (yield from _docker_entries(intake))
    raise InvalidContent("unrecognized image format")


def _take(intake: _Intake, member: Member, chunks: Iterator[bytes]) -> None:
    name = _clean(member.name)
    if member.type in _REFUSED:
        raise InvalidContent(f"refusing {quote(member.name)}: a {member.type.value} in an image archive")
    if member.type is MemberType.SYMLINK:
        _take_link(intake, name, member.link)
    elif member.type is MemberType.FILE:
        _remember(intake, len(name))
        try:
            _take_file(intake, name, member.size, chunks)
        except InvalidContent as exc:
            raise InvalidContent(f"failed to ingest {quote(member.name)}: {exc}") from exc


def _clean(name: str) -> str:
    clean = posixpath.normpath(name)
    if clean.startswith("/") or ".." in name.split("/"):
        raise InvalidContent(f"refusing {quote(name)}: the name leads out of the archive")
    return clean


def _take_link(intake: _Intake, name: str, link: str) -> None:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    if name in _DOCUMENTS or target.startswith(("/", "../")):
        raise InvalidContent(f"refusing {quote(name)}: a symbolic link to {quote(link)}")
    _remember(intake, len(name) + len(target))
    _refuse_other(intake, name, target)
    intake.links[name] = target


def _take_file(intake: _Intake, name: str, size: int, chunks: Iterator[bytes]) -> None:
    if name in _DOCUMENTS:
        document = _read_document(size, chunks)
        _refuse_other(intake, name, Digest.of(document))
        intake.documents[name] = document
        return
    digest = _blob_digest(name)
    if size > SMALL_BYTES:
        blob = store_blob(intake.engine, intake.lease, chunks, digest=digest, size=size)
    elif digest is not None:
        blob = intake.blobs.add(b"".join(chunks), digest=digest)
    else:
        content = b"".join(chunks)
        _remember(intake, size)
        _refuse_other(intake, name, Digest.of(content))
        intake.small[name] = content
        return
    _refuse_other(intake, name, blob.digest)
    intake.stored[name] = blob


def _refuse_other(intake: _Intake, name: str, came: Digest | str) -> None:
    """Refuse a second member of one name, unless it is the same."""
    if intake.came.setdefault(name, came) != came:
        raise InvalidContent(f"the name {quote(name)} stands twice in the archive")


def _remember(intake: _Intake, size: int) -> None:
    intake.memory += size + 256
    if intake.memory > _MEMORY_BYTES:
        raise InvalidContent("the archive has too many members")


def _read_document(size: int, chunks: Iterable[bytes]) -> bytes:
    if size > MAX_DOCUMENT_BYTES:
        raise InvalidContent(f"larger than {MAX_DOCUMENT_BYTES} bytes")
    document = b"".join(chunks)
    if sum(map(document.count, (b"{", b"[", b","))) > MAX_DOCUMENT_VALUES:
        raise InvalidContent(f"more than {MAX_DOCUMENT_VALUES} values")
    return document


def _blob_digest(name: str) -> Digest | None:
    """The digest that a member of blobs/ promises by its name."""
    folder, _, rest = name.partition("/")
    if folder != "blobs":
        return None
    algorithm, _, encoded = rest.partition("/")
    try:
        return Digest.parse(f"{algorithm}:{encoded}")
    except InvalidDigest:
        return None


def _layout_entries(intake: _Intake) -> list[Descriptor]:
    if oci_layout.INDEX_FILE not in intake.documents:
        raise InvalidContent(f"missing index.json in OCI layout {oci_layout.LAYOUT_VERSION}")
    entries = oci_layout.parse_index_file(intake.documents[oci_layout.INDEX_FILE], most=MAX_ENTRIES)
    return [entry for entry in entries if oci_layout.entry_name(entry) or not oci_layout.is_referrer(entry)]


def _docker_entries(intake: _Intake) -> Generator[Progress, None, list[Descriptor]]:
    images = docker_archive.parse_manifest_file(intake.documents[docker_archive.MANIFEST_FILE])
    if len(images) > MAX_IMAGES or sum(max(1, len(image.repo_tags)) for image in images) > MAX_ENTRIES:
        raise InvalidContent(f"the archive has more than {MAX_IMAGES} images or {MAX_ENTRIES} names")
    for name, target in docker_archive.resolve_links({**intake.small, **intake.stored}, intake.links).items():
        if target in intake.small:
            intake.small[name] = intake.small[target]
        else:
            intake.stored[name] = intake.stored[target]
    distinct = iter({(image.config, image.layers): image for image in images}.values())
    targets: dict[tuple[str, tuple[str, ...]], Descriptor] = {}
    while group := list(islice(distinct, _IMAGES_AT_ONCE)):
        targets |= _derive(intake, group)
        yield Progress()
    intake.blobs.flush()
    return [entry for image in images for entry in _named(targets[image.config, image.layers], image)]


def _named(target: Descriptor, image: ArchivedImage) -> list[Descriptor]:
    """The image once under each of its names."""
    return [oci_layout.named(target, _normalize(name)) for name in image.repo_tags] or [target]


def _derive(intake: _Intake, images: list[ArchivedImage]) -> dict[tuple[str, tuple[str, ...]], Descriptor]:
    """Derive and store the manifests of a few images, by config and layers as the archive names them."""
    found = {image: (_config(intake, image.config), [_layer(intake, name) for name in image.layers]) for image in images}
    intake.blobs.flush()
    twins = _compressed_twins(intake, {layer.digest for _, layers in found.values() for layer in layers})
    return {(image.config, image.layers): _manifest(intake, config, layers, twins) for image, (config, layers) in found.items()}


def _manifest(intake: _Intake, config: StoredBlob, layers: list[StoredBlob], twins: Mapping[Digest, Descriptor]) -> Descriptor:
    platform, diff_ids = _read_config(intake, config.digest)
    if diff_ids != len(layers):
        raise InvalidContent("mismatched image rootfs and manifest layers")
    raw = docker_archive.derive_manifest(Descriptor(DOCKER_CONFIG, config.digest, config.size), _prefer_compressed(intake, layers, twins))
    return Descriptor(DOCKER_MANIFEST, intake.blobs.add(raw).digest, len(raw), platform=platform)


def _read_config(intake: _Intake, digest: Digest) -> tuple[Platform, int]:
    """The platform that a config is for, and how many layers it has."""
    if digest not in intake.configs:
        try:
            config = ImageConfig.parse(intake.engine.content.read(digest))
        except InvalidContent as exc:
            raise InvalidContent(f"unable to resolve platform: {exc}") from exc
        intake.configs[digest] = config.platform, len(config.diff_ids or ())
    return intake.configs[digest]


def _config(intake: _Intake, name: str) -> StoredBlob:
    config = _stored(intake, name)
    if config is None:
        raise InvalidContent(f"image config {quote(name)} not found")
    if config.size > MAX_MANIFEST_BYTES:
        raise InvalidContent(f"image config {quote(name)} is larger than {MAX_MANIFEST_BYTES} bytes")
    return config


def _layer(intake: _Intake, name: str) -> StoredBlob:
    blob = _stored(intake, name)
    if blob is None:
        raise InvalidContent(f"failed to resolve layers: layer {quote(name)} not found")
    return blob


def _media_type(intake: _Intake, layer: Digest) -> str:
    if layer not in intake.types:
        with intake.engine.content.open(layer) as content:
            intake.types[layer] = docker_archive.layer_media_type(content.read(_HEAD_BYTES))
    return intake.types[layer]


def _stored(intake: _Intake, name: str) -> StoredBlob | None:
    """The member as a stored blob; a small one is stored now that it is needed."""
    if name not in intake.stored and name in intake.small:
        intake.stored[name] = intake.blobs.add(intake.small[name])
    return intake.stored.get(name)


def _compressed_twins(intake: _Intake, layers: set[Digest]) -> dict[Digest, Descriptor]:
    """Of these layers, the compressed blobs of the same uncompressed streams that the store has."""
    with intake.engine.metadata.read() as tx:
        twins = tx.graph.by_diff_id(layers)
        sizes = tx.graph.blob_sizes(twins.values())
    held = intake.lease.add(twins.values()) if twins else set()
    found = {layer: Descriptor(DOCKER_LAYER_GZIP, twin, sizes[twin]) for layer, twin in twins.items() if twin in held}
    return {layer: twin for layer, twin in found.items() if _media_type(intake, twin.digest) == DOCKER_LAYER_GZIP}


def _prefer_compressed(intake: _Intake, layers: list[StoredBlob], twins: Mapping[Digest, Descriptor]) -> list[Descriptor]:
    """Put a compressed blob of the same uncompressed stream, where the store has one, in a layer's place, as containerd does.

    Of a layer that stands there several times only the last is replaced, and by nothing that would be called plain, so that IDs are equal.
    """
    known = {layer.digest: Descriptor(_media_type(intake, layer.digest), layer.digest, layer.size) for layer in layers}
    preferred = [known[layer.digest] for layer in layers]
    for position in {layer.digest: position for position, layer in enumerate(layers)}.values():
        preferred[position] = twins.get(layers[position].digest, preferred[position])
    return preferred


def _normalize(name: str) -> str:
    """A name of manifest.json in canonical form: with a tag or a digest, not both (distribution's ParseDockerRef)."""
    try:
        reference = Reference.parse(name).tagged()
    except InvalidReference as exc:
        raise InvalidContent(f"normalize image ref {quote(name)}: {exc}") from exc
    return str(reference.trimmed().with_digest(reference.digest) if reference.digest else reference)
