"""Which images the names of a save mean, and which part of each is saved."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stowage.services.errors import Conflict, InvalidParameter, InvalidReference, NotFound
from stowage.services.intake.archive_members import MAX_DOCUMENT_BYTES, MAX_ENTRIES
from stowage.services.metadata.records import Edge, ImageRecord, ManifestDocument
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import PresentManifests, read_manifests
from stowage.services.oci.descriptor import Descriptor, trimmed
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.registry.operations import current_operation
from stowage.services.store.export_target import choose_target
from stowage.services.store.resolve import image_not_found, resolve_image

_ENTRY_BYTES = 256
"""What index.json and manifest.json need for a name, besides the name itself and what the image's descriptor says, roughly."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An image to save: its record, the name to save it under, and the part to save.

    `manifests` are all of its present manifests, if platforms were requested and it is the first name of the image.
    """

    record: ImageRecord
    reference: Reference | None
    target: Descriptor
    manifests: PresentManifests


def choose_images(tx: Transaction, names: Iterable[str], platforms: Sequence[Platform], chosen: list[Chosen]) -> None:
    """Add what each name means to `chosen`, again for one that is repeated; what the names of one image have in common is found once.

    Raises as `save_images` does. What was meant by the names before is then among the chosen.
    """
    parts: dict[Digest, Descriptor] = {}
    selected: dict[str, list[tuple[ImageRecord, Reference | None]]] = {}
    size = 0
    for name in names:
        current_operation().check()
        if name not in selected:
            selected[name] = _select(tx, name)
        for record, reference in selected[name]:
            digest, manifests = record.target.digest, dict[Digest, ManifestDocument]()
            if digest not in parts:
                manifests = read_manifests(tx, digest) if platforms else manifests
                parts[digest] = _platform_manifest(record, manifests, platforms[0]) if len(platforms) == 1 else record.target
                manifests = {each: trimmed_facts(facts) for each, facts in manifests.items()}
            target = record.target if parts[digest].digest == digest else parts[digest]  # each name has annotations of its own
            chosen.append(Chosen(record, reference, target, manifests))
            size += _ENTRY_BYTES + 3 * len(record.name) + target.text_size
        if len(chosen) > MAX_ENTRIES:
            raise InvalidParameter(f"an archive may have at most {MAX_ENTRIES} names")
        if size > MAX_DOCUMENT_BYTES:
            raise InvalidParameter(f"the names and annotations of the images need about {size} bytes of index.json: save fewer at once")


def trimmed_facts(facts: ManifestDocument) -> ManifestDocument:
    """The facts without labels and other texts that may be long: those of all images of a save are kept while it is planned."""
    return replace(facts, labels=None, edges=tuple(Edge(edge.role, trimmed(edge.child)) for edge in facts.edges))


def _select(tx: Transaction, name: str) -> list[tuple[ImageRecord, Reference | None]]:
    """The records that a name means, each with the reference to save it under."""
    try:
        reference = Reference.parse(name)
    except InvalidReference:
        return [(resolve_image(tx, name), None)]
    record = _resolve(tx, name)
    is_specific = reference.digest is not None or (record is not None and record.target.digest.hex.startswith(name.removeprefix("sha256:")))
    if reference.is_name_only and not (record and is_specific):
        found = tx.images.in_repository(reference.name)
        if not found:
            raise image_not_found(reference)
        return [(each, Reference.parse_canonical(each.name)) for each in found]
    return [(record or resolve_image(tx, name), None if is_specific else reference)]


def _resolve(tx: Transaction, name: str) -> ImageRecord | None:
    try:
        return resolve_image(tx, name)
    except NotFound:
        return None


def _platform_manifest(record: ImageRecord, manifests: PresentManifests, platform: Platform) -> Descriptor:
    try:
        return choose_target(record, manifests, platform=platform, preferred=platform)
    except (NotFound, Conflict) as exc:
        raise type(exc)(f"no suitable export target found: {exc}") from exc
