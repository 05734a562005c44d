"""GET /images/get as a use case: images become one archive, an OCI layout that also has Docker's manifest.json.

Everything is planned from rows before the first byte, so any error is known by then. Blobs are then copied unchanged. Members are sorted by
name and have no time or owner: the same images under the same names give the same bytes.

An attestation saved beside its manifest, not within its index, is also an entry of index.json: unnamed, annotated with its subject.

Layers that the receiver has may be left out. Manifests, indexes and configs never are: a load reads from them what an image needs, and
takes a manifest without its config for one of a platform that was not saved.

Source: moby daemon/containerd/image_exporter.go (ExportImage, referrersForExport); containerd core/images/archive/exporter.go.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from stowage.services.archive.docker_archive import MANIFEST_FILE, blob_member, manifest_file
from stowage.services.archive.oci_layout import INDEX_FILE, LAYOUT, LAYOUT_FILE, MANIFEST_SUBJECT, index_file, named, unnamed
from stowage.services.archive.tar_reader import CHUNK
from stowage.services.archive.tar_writer import NewMember, write_tar
from stowage.services.engine import Engine
from stowage.services.errors import Conflict, Disconnected, EngineError, Internal, InvalidParameter, InvalidReference, NotFound
from stowage.services.gc.leases import hold
from stowage.services.intake.archive_members import MAX_DOCUMENT_BYTES, MAX_ENTRIES
from stowage.services.metadata.records import Edge, ImageRecord, ManifestDocument, Role
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import PresentManifests, read_manifests, summarize
from stowage.services.oci import gojson
from stowage.services.oci.descriptor import Descriptor, trimmed
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import Fields
from stowage.services.oci.manifest import best_manifest, is_wanted
from stowage.services.oci.mediatypes import MAX_TYPE, is_index, is_manifest
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import Reference
from stowage.services.registry.operations import current_operation
from stowage.services.store.batches import batches
from stowage.services.store.events import Action, labels_of_images, log_image
from stowage.services.store.export_target import choose_target
from stowage.services.store.reading import open_verified, read_document, refuse_damaged
from stowage.services.store.resolve import image_not_found, resolve_image

_BLOB_MODE, _DOCUMENT_MODE, _FOLDER_MODE = 0o444, 0o644, 0o755


@dataclass(slots=True)
class _Plan:
    """The content of the archive: entries of index.json, blobs, and names per manifest of manifest.json.

    `sizes` are those of the blobs' rows, since an index may state any size for a manifest that was absent when it was stored. `targets` are
    the planned targets, each with the manifest that represents it in manifest.json, if any. `whole` are the manifests that are planned with
    all that is below them, `referrers` the entries of attestations by their digests.
    """

    tx: Transaction
    engine: Engine
    matcher: PlatformMatcher
    entries: list[Descriptor] = field(default_factory=list)
    blobs: set[Digest] = field(default_factory=set)
    sizes: dict[Digest, int] = field(default_factory=dict)
    names: dict[Digest, list[str]] = field(default_factory=dict)
    manifests: dict[Digest, ManifestDocument] = field(default_factory=dict)
    targets: dict[Digest, Digest | None] = field(default_factory=dict)
    whole: set[Digest] = field(default_factory=set)
    referrers: dict[Digest, Descriptor] = field(default_factory=dict)


def save_images(
    engine: Engine, names: Iterable[str], *, platforms: Sequence[Platform] = (), without: Collection[Digest] = ()
) -> Generator[bytes, None, None]:
    """Stream an archive of these images: by name, repository (all its tags), ID or the beginning of one, or digest; the last three unnamed.
    What is meant several times is listed as often, as in Docker.

    With one platform its manifest alone becomes the image; with several the index stays and the others are left out. Attestations that the
    index lists for them are included, as are referrers known from a load. Absent content and foreign layers are left out, and layers among
    `without`. Nothing is sent before everything is resolved. Until then raises InvalidReference, InvalidParameter for what is neither
    manifest nor index and for too many names, ImageNotFound, NotFound, Conflict; images named before a missing one are reported as saved,
    as in Docker. Chunks are up to about 1 MiB.
    A lease keeps the content until the stream is closed.
    """
    with hold(engine.metadata, engine.content, "save") as lease:
        chosen: list[Chosen] = []
        try:
            with engine.metadata.read() as tx:
                choose_images(tx, names, platforms, chosen)
                plan = _Plan(tx, engine, PlatformMatcher.any_of(tuple(platforms), engine.platform))
                for image in chosen:
                    _add_image(plan, image)
                _add_known_referrers(plan)
                plan.sizes = tx.graph.blob_sizes(plan.blobs)
                documents = _documents(plan)
                plan.blobs -= _layers(plan).intersection(without)
        except Disconnected:
            raise
        except EngineError:
            _log(engine, chosen)
            raise
        if unsound := plan.blobs - lease.add(plan.blobs):
            refuse_damaged(engine, unsound)
            raise NotFound("an image was removed while it was about to be saved")
        _log(engine, chosen)
        engine.tally.parts.expect({digest: plan.sizes[digest] for digest in plan.blobs})
        blobs = {blob_member(digest): _blob(engine, digest, plan.sizes[digest]) for digest in plan.blobs}
        yield from write_tar(blobs | documents)


def _log(engine: Engine, chosen: Iterable[Chosen]) -> None:
    """Report each name, as Docker does, so that other writers need not wait for all of them."""
    targets = [image.target.digest for image in chosen]
    with engine.metadata.read() as tx:
        labels = labels_of_images(tx, engine, set(targets))
    for batch in batches(targets):
        with engine.metadata.write() as tx:
            for target in batch:
                log_image(tx, engine, Action.SAVE, target, name=target, labels=labels.get(target))


def _add_image(plan: _Plan, image: Chosen) -> None:
    target, reference = image.target, image.reference
    if not is_manifest(target.media_type) and not is_index(target.media_type):
        raise InvalidParameter("only manifests may be exported: invalid argument")
    plan.entries.append(named(target, str(reference)) if reference else unnamed(target))
    if target.digest not in plan.targets:
        plan.targets[target.digest] = target.digest if is_manifest(target.media_type) else _preferred_manifest(plan, target)
        _add_content(plan, target, is_target=True)
    manifest = plan.targets[target.digest]
    if manifest is not None:
        names = plan.names.setdefault(manifest, [])
        if reference:
            names.append(reference.tagged().familiar)
    if image.manifests:
        _add_attestations(plan, image)


def _preferred_manifest(plan: _Plan, index: Descriptor) -> Digest | None:
    """The manifest that represents an index in manifest.json: the best of those present, the index's order deciding between equals.

    Nested indexes have none. Raises NotFound if nothing that was requested is present.
    """
    facts = _manifest(plan, index.digest)
    children = [edge.child for edge in facts.edges] if facts else []
    present = [child for child in children if is_wanted(child, plan.matcher) and _manifest(plan, child.digest)]
    if children and not present:
        raise NotFound("no manifest found for platform: not found")
    best = best_manifest((child for child in present if is_manifest(child.media_type)), plan.matcher)
    return best.digest if best else None


def _manifest(plan: _Plan, digest: Digest) -> ManifestDocument | None:
    current_operation().check()
    if digest not in plan.manifests:
        facts = plan.tx.graph.manifest(digest)
        if facts is None:
            return None
        plan.manifests[digest] = trimmed_facts(facts)
    return plan.manifests[digest]


def _add_content(plan: _Plan, descriptor: Descriptor, *, is_target: bool) -> None:
    """Plan a manifest and what is present below it; one that is present without its content is saved alone, as in containerd."""
    facts = _manifest(plan, descriptor.digest)
    if facts is None:
        if plan.tx.graph.present([descriptor.digest]):
            plan.blobs.add(descriptor.digest)
        return
    plan.blobs.add(descriptor.digest)
    plan.blobs.update(edge.child.digest for edge in facts.needed)
    for edge in facts.edges:
        if edge.role is Role.MANIFEST and edge.child.digest not in plan.whole and (not is_target or is_wanted(edge.child, plan.matcher)):
            plan.whole.add(edge.child.digest)
            _add_content(plan, edge.child, is_target=False)


def _add_attestations(plan: _Plan, image: Chosen) -> None:
    """Plan the present attestations of the planned manifests; of several for one manifest the last counts."""
    listed = summarize(image.record, image.manifests).manifests
    for subject, attestation in {each.attests: each.descriptor for each in listed if each.attests in plan.blobs}.items():
        if subject is not None:
            _add_referrer(plan, attestation, subject)


def _add_known_referrers(plan: _Plan) -> None:
    """Plan the referrers of the planned manifests that a load has recorded."""
    for subject in [digest for digest in plan.manifests if digest in plan.blobs]:
        for referrer in plan.tx.graph.referrers(subject):
            _add_referrer(plan, referrer, subject)


def _add_referrer(plan: _Plan, referrer: Descriptor, subject: Digest) -> None:
    """Plan what refers to a manifest, if it is present; the last subject counts."""
    if known := plan.referrers.get(referrer.digest):
        plan.referrers[referrer.digest] = replace(known, annotations={MANIFEST_SUBJECT: str(subject)})
    elif plan.tx.graph.present([referrer.digest]):
        plan.referrers[referrer.digest] = _referrer(plan, referrer, subject)
        _add_content(plan, referrer, is_target=False)


def _referrer(plan: _Plan, manifest: Descriptor, subject: Digest) -> Descriptor:
    """The entry of an attestation. Its artifact type is in the manifest itself; BuildKit does not repeat it in the index."""
    fields = Fields(gojson.decode(read_document(plan.engine, manifest.digest)), "Manifest")
    artifact_type = fields.text("artifactType")[:MAX_TYPE]
    return Descriptor(manifest.media_type, manifest.digest, manifest.size, {MANIFEST_SUBJECT: str(subject)}, artifact_type=artifact_type)


def _layers(plan: _Plan) -> set[Digest]:
    """What is planned as a layer and as nothing else."""
    edges = [edge for facts in plan.manifests.values() for edge in facts.edges]
    others = plan.manifests.keys() | {edge.child.digest for edge in edges if edge.role is not Role.LAYER}
    return {edge.child.digest for edge in edges} - others


def _entries(plan: _Plan) -> list[Descriptor]:
    """The images, followed by the referrers that nothing else in the archive lists, ordered by digest."""
    reached = plan.whole | {entry.digest for entry in plan.entries}
    listed = plan.entries + [plan.referrers[digest] for digest in sorted(plan.referrers.keys() - reached, key=str)]
    return [replace(entry, size=plan.sizes[entry.digest]) for entry in listed]


def _documents(plan: _Plan) -> dict[str, NewMember]:
    """The members that are not blobs, by name."""
    documents = {LAYOUT_FILE: _document(LAYOUT, _BLOB_MODE), INDEX_FILE: _document(index_file(_entries(plan)))}
    if plan.names:
        documents[MANIFEST_FILE] = _document(manifest_file(_manifest_entry(plan, digest) for digest in plan.names))
    for algorithm in {digest.algorithm for digest in plan.blobs}:
        documents |= {"blobs/": NewMember(_FOLDER_MODE), f"blobs/{algorithm}/": NewMember(_FOLDER_MODE)}
    return documents


def _document(content: bytes, mode: int = _DOCUMENT_MODE) -> NewMember:
    return NewMember(mode, len(content), lambda: (content,))


def _manifest_entry(plan: _Plan, digest: Digest) -> tuple[Digest, list[str], list[Digest]]:
    facts = _manifest(plan, digest)
    if facts is None:
        raise Internal(f"image manifest {digest} is not recorded")
    config, *layers = [edge.child.digest for edge in facts.edges]
    return config, plan.names[digest], layers


def _blob(engine: Engine, digest: Digest, size: int) -> NewMember:
    def chunks() -> Iterator[bytes]:
        parts, position = engine.tally.parts, 0
        with open_verified(engine, digest, size) as blob:
            while chunk := blob.read(CHUNK):
                yield chunk
                position += len(chunk)
                parts.reach(digest, position)
        parts.finish(digest)

    return NewMember(_BLOB_MODE, size, chunks)


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
