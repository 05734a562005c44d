"""An image archive, read as it arrives: its members become blobs, and its entries descriptors of what to name.

The manifest.json of a docker-archive names configs and layers, and a manifest is derived from each image, as in containerd.

Source: containerd core/images/archive/importer.go.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from itertools import islice

from stowage.services.archive import docker_archive, oci_layout
from stowage.services.archive.bounds import Costs
from stowage.services.archive.compression import Counted, Readable, uncompressed
from stowage.services.archive.docker_archive import ArchivedImage
from stowage.services.archive.tar_reader import TarReader
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, InvalidReference
from stowage.services.gc.leases import Lease
from stowage.services.intake.archive_members import MAX_ENTRIES, Intake, take_member
from stowage.services.intake.recording import StoredBlob
from stowage.services.intake.small_blobs import SmallBlobs
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import quote
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES
from stowage.services.oci.mediatypes import DOCKER_CONFIG, DOCKER_LAYER_GZIP, DOCKER_MANIFEST
from stowage.services.oci.reference import Reference
from stowage.services.progress import Progress
from stowage.services.store.documents import ConfigFacts, Documents


def read_archive(
    engine: Engine, lease: Lease, *, source: Readable, costs: Costs, documents: Documents
) -> Generator[Progress, None, list[Descriptor]]:
    """Store what the archive holds under the lease; returns its entries in order, one for each name, as an index.json lists them.

    The operation counts what it costs; `documents` keeps what was read of its configs. Yields ticks. Raises InvalidContent, in containerd's
    words if it has any, also if all streams of the archive, including the archive itself, inflate like a bomb together, and what
    `Costs` raises.
    """
    engine = replace(engine, costs=costs)
    intake = Intake(engine, lease, costs, documents, SmallBlobs(engine, lease))
    with uncompressed(Counted(source, costs), engine.bounds) as read:
        reader = TarReader(read)
        for member in reader:
            yield from take_member(intake, member, reader.chunks())
            yield Progress()
            while reader.skip_some():
                yield Progress()
    intake.blobs.flush()
    if oci_layout.LAYOUT_FILE in intake.documents and oci_layout.parse_layout_version(intake.documents[oci_layout.LAYOUT_FILE]):
        return _layout_entries(intake)
    if docker_archive.MANIFEST_FILE in intake.documents:
        return (yield from docker_entries(intake))
    raise InvalidContent("unrecognized image format")


def _layout_entries(intake: Intake) -> list[Descriptor]:
    if oci_layout.INDEX_FILE not in intake.documents:
        raise InvalidContent(f"missing index.json in OCI layout {oci_layout.LAYOUT_VERSION}")
    raw = intake.documents.pop(oci_layout.INDEX_FILE)
    intake.configs.count_listing(raw)
    return list(oci_layout.parse_index_file(raw, most=MAX_ENTRIES))


MAX_IMAGES = 20_000
"""The maximum number of entries in manifest.json; each may cost a manifest and everything that is read for it."""

_HEAD_BYTES = 10
_IMAGES_AT_ONCE = 64


def docker_entries(intake: Intake) -> Generator[Progress, None, list[Descriptor]]:
    """Store a manifest for each image of manifest.json; returns the images in its order, one for each name. Yields ticks.

    Raises InvalidContent, in containerd's words if it has any, for members that are missing or do not fit together.
    """
    raw = intake.documents.pop(docker_archive.MANIFEST_FILE)
    intake.configs.count_listing(raw)
    images = docker_archive.parse_manifest_file(raw)
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
        targets |= yield from _derive(intake, group)
    intake.blobs.flush()
    return [entry for image in images for entry in _named(targets[image.config, image.layers], image)]


def _named(target: Descriptor, image: ArchivedImage) -> list[Descriptor]:
    """The image once under each of its names."""
    return [oci_layout.named(target, _normalize(name)) for name in image.repo_tags] or [target]


def _derive(intake: Intake, images: list[ArchivedImage]) -> Generator[Progress, None, dict[tuple[str, tuple[str, ...]], Descriptor]]:
    """Derive and store the manifests of a few images, by config and layers as the archive names them. Yields a tick for each image."""
    found = {image: (_config(intake, image.config), [_layer(intake, name) for name in image.layers]) for image in images}
    intake.blobs.flush()
    twins = _compressed_twins(intake, {layer.digest for _, layers in found.values() for layer in layers})
    for image, (config, layers) in found.items():
        _check_layers(intake, image, config, layers)
        yield Progress()
    return {(image.config, image.layers): _derived_manifest(intake, config, layers, twins) for image, (config, layers) in found.items()}


def _check_layers(intake: Intake, image: ArchivedImage, config: StoredBlob, layers: list[StoredBlob]) -> None:
    """Refuse a layer that is empty or not a stream unless it matches its diff_id, the only digest that such an archive has for a layer."""
    diff_ids = _read_config(intake, config.digest).diff_ids
    if len(diff_ids) != len(layers):
        raise InvalidContent("mismatched image rootfs and manifest layers")
    for position, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=True)):
        actual = layer.digest
        if (layer.layer is None or not layer.size) and actual != diff_id:
            raise InvalidContent(f'layer {quote(image.layers[position])} is not readable: wrong diff id "{actual}", expected "{diff_id}"')


def _derived_manifest(intake: Intake, config: StoredBlob, layers: list[StoredBlob], twins: Mapping[Digest, Descriptor]) -> Descriptor:
    platform = _read_config(intake, config.digest).platform
    raw = docker_archive.derive_manifest(Descriptor(DOCKER_CONFIG, config.digest, config.size), _prefer_compressed(intake, layers, twins))
    return Descriptor(DOCKER_MANIFEST, intake.blobs.add(raw).digest, len(raw), platform=platform)


def _read_config(intake: Intake, digest: Digest) -> ConfigFacts:
    facts = intake.configs.config_facts(intake.engine, digest)
    if isinstance(facts, InvalidContent):
        raise InvalidContent(f"unable to resolve platform: {facts}")
    return facts


def _config(intake: Intake, name: str) -> StoredBlob:
    config = _stored(intake, name)
    if config is None:
        raise InvalidContent(f"image config {quote(name)} not found")
    if config.size > MAX_MANIFEST_BYTES:
        raise InvalidContent(f"image config {quote(name)} is larger than {MAX_MANIFEST_BYTES} bytes")
    return config


def _layer(intake: Intake, name: str) -> StoredBlob:
    blob = _stored(intake, name)
    if blob is None:
        raise InvalidContent(f"failed to resolve layers: layer {quote(name)} not found")
    return blob


def _media_type(intake: Intake, layer: Digest) -> str:
    if layer not in intake.types:
        with intake.engine.content.open(layer) as content:
            intake.types[layer] = docker_archive.layer_media_type(content.read(_HEAD_BYTES))
    return intake.types[layer]


def _stored(intake: Intake, name: str) -> StoredBlob | None:
    """The member as a stored blob; a small one is stored now that it is needed."""
    if name not in intake.stored and name in intake.small:
        intake.stored[name] = intake.blobs.add(intake.small[name])
    return intake.stored.get(name)


def _compressed_twins(intake: Intake, layers: set[Digest]) -> dict[Digest, Descriptor]:
    """For these layers, the store's compressed blobs of the same uncompressed streams."""
    with intake.engine.metadata.read() as tx:
        twins = tx.graph.by_diff_id(layers)
        sizes = tx.graph.blob_sizes(twins.values())
    held = intake.lease.add(twins.values()) if twins else set()
    found = {layer: Descriptor(DOCKER_LAYER_GZIP, twin, sizes[twin]) for layer, twin in twins.items() if twin in held}
    return {layer: twin for layer, twin in found.items() if _media_type(intake, twin.digest) == DOCKER_LAYER_GZIP}


def _prefer_compressed(intake: Intake, layers: list[StoredBlob], twins: Mapping[Digest, Descriptor]) -> list[Descriptor]:
    """Replace a layer by a compressed blob of the same uncompressed stream if the store has one, as containerd does.

    If a layer is listed several times, only the last is replaced. No blob with a plain media type replaces it, so that IDs are equal.
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
