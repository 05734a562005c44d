"""POST /images/load as a use case: an archive becomes blobs, manifests and names.

Members are stored as they arrive, under one lease. When every image of the archive is whole and verified, the manifests are recorded and
then names are given, at most a few hundred in a transaction. So a broken archive leaves nothing: what only the lease kept is swept when it
ends.

Source: moby daemon/containerd/image_exporter.go (LoadImage, verifyImagesProvidePlatform); containerd client/import.go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cache, partial

from stowage.services.archive.bounds import Costs
from stowage.services.archive.compression import Readable
from stowage.services.archive.oci_layout import MANIFEST_SUBJECT, entry_name, is_image
from stowage.services.engine import Engine
from stowage.services.errors import EngineError, InvalidContent, InvalidDigest, InvalidReference, NotFound, drop_frames
from stowage.services.gc.leases import Lease, hold
from stowage.services.intake.archive import read_archive
from stowage.services.metadata.records import Kind, ManifestDocument, Role
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.manifest import is_wanted, wanted_manifests
from stowage.services.oci.mediatypes import is_manifest
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import Reference, dangling_name
from stowage.services.progress import Progress, ProgressStream
from stowage.services.store.batches import batches
from stowage.services.store.documents import Documents
from stowage.services.store.events import Action, labels_of_targets, log_image
from stowage.services.store.graph import ReadManifest, read_graph, whole_manifests
from stowage.services.store.publish import assign_name, graph_content, read_configs, record_graph
from stowage.services.store.unsound import refuse_unsound

MAX_DESCRIPTORS = 1_000_000
"""How many descriptors the images of an archive may have together: a few KiB may name thousands of images that share many."""

_DRAIN_BYTES = 64 << 20
_DRAIN_CHUNK = 1 << 20

ReadArchive = Callable[[Lease], Generator[Progress, None, list[Descriptor]]]


@dataclass(frozen=True, slots=True)
class _Loaded:
    """An image of the archive: its target as it will be stored, its name if it has a valid one, and what was read from it.

    `referrers` are the artifacts beside the image that refer to one of its manifests, by that manifest's digest.
    """

    target: Descriptor
    reference: Reference | None
    graph: list[ReadManifest]
    referrers: dict[Digest, list[Descriptor]]

    @property
    def listed(self) -> list[Descriptor]:
        """What the image's indexes list."""
        return [child for manifest in self.graph for child in _children(manifest)]

    @property
    def familiar(self) -> str:
        return self.reference.familiar if self.reference else str(self.target.digest)


def load_image(engine: Engine, source: Readable, *, platforms: Sequence[Platform] = ()) -> ProgressStream:
    """Load every image of an archive: docker-archive, OCI layout or both; plain, gzip, bzip2, xz or zstd.

    Once all are stored, yields one `Loaded image: <name>` or `Loaded image ID: <digest>` line per entry, in the archive's order. It is
    followed by `Error unpacking image` if the image is stored although no layer could be made of it (see `read_graph`). Empty ticks come
    between the earlier steps. With platforms, only these and their attestations are taken from an index, and every image must provide one
    of them. Names that are not valid references count as none. Raises InvalidContent, NotFound, OutOfSpace, and Unavailable or Forbidden if
    there is not enough memory. The store is then unchanged, as it is if the stream is closed before the names are given.
    What follows the archive in `source` is read too, up to a bound, so the client can finish sending.
    """
    try:
        report = yield from _load(engine, source, platforms)
    except EngineError as exc:
        drop_frames(exc)  # they would keep what was read while a slow client sends the rest
        _drain(source)
        raise
    _drain(source)
    yield from report


def _report(engine: Engine, loaded: list[_Loaded], platforms: Sequence[Platform]) -> Iterator[Progress]:
    unpacked = PlatformMatcher.any_of(tuple(platforms), engine.platform) if platforms else PlatformMatcher.only(engine.platform)
    problems = {image.target.digest: _problem(image, unpacked) for image in _one_per_target(loaded)}
    for image in loaded:
        label = "Loaded image" if image.reference else "Loaded image ID"
        yield Progress(stream=f"{label}: {image.familiar}\n", image=image.familiar)
        if problem := problems[image.target.digest]:
            yield _not_unpacked(image, problem)


def _problem(image: _Loaded, unpacked: PlatformMatcher) -> str:
    """Why Docker, which unpacks these platforms and ignores others, could not unpack the image; usually empty."""
    listed = {child.digest: child.platform for child in image.listed}
    for manifest in image.graph:
        document = manifest.document
        platform = listed.get(document.digest) or document.platform
        if manifest.problem and (document.kind is Kind.ARTIFACT or (platform and unpacked.matches(platform))):
            return manifest.problem
    return ""


def _not_unpacked(image: _Loaded, problem: str) -> Progress:
    document = image.graph[-1].document
    if document.kind is Kind.ARTIFACT:
        problem = f"error walking manifest for {image.reference or dangling_name(document.digest)}: {problem}"
    return Progress(stream=f"Error unpacking image {image.familiar}: {problem}\n")


def _load(engine: Engine, source: Readable, platforms: Sequence[Platform]) -> Generator[Progress, None, list[Progress]]:
    """Load the archive and return the lines that report it: nothing else is kept while the rest of the body is read."""
    with closing(Costs(engine.memory)) as costs, hold(engine.metadata, engine.content, "load") as lease:
        documents = Documents(costs)
        read = partial(read_archive, engine, source=source, costs=costs, documents=documents)
        if platforms:
            loaded = yield from _take_platforms(engine, lease, read, documents, platforms)
        else:
            entries = yield from read(lease)
            if not any(map(is_image, entries)):
                raise InvalidContent("image might be filtered out")
            loaded = yield from _read_images(engine, lease, entries, documents)
        yield from _record(engine, loaded)
        return list(_report(engine, loaded, platforms))


def _record(engine: Engine, loaded: list[_Loaded]) -> Iterator[Progress]:
    """Make the images visible, in transactions of bounded size: their manifests, which the lease keeps, and then the names."""
    manifests = {manifest.document.digest: manifest for image in loaded for manifest in image.graph}
    referrers = {subject: each for image in loaded for subject, each in image.referrers.items()}
    for batch in batches(manifests.values(), _weight):
        configs = read_configs(engine.content, batch)
        with engine.metadata.write() as tx:
            recorded = {manifest.document.digest for manifest in batch} & referrers.keys()
            record_graph(tx, batch, configs, {subject: referrers[subject] for subject in recorded})
        yield Progress()
    with engine.metadata.read() as tx:
        descriptors = tx.graph.descriptors(image.target.digest for image in loaded)
    if sum(descriptors.values()) > MAX_DESCRIPTORS:
        raise InvalidContent(f"the images have more than {MAX_DESCRIPTORS} descriptors together: what they list, and what that has")
    for images in batches(_distinct(loaded), lambda image: descriptors[image.target.digest] + _labels(image)):
        _name(engine, images)
        yield Progress()


def _labels(image: _Loaded) -> int:
    """What the rows of its labels, by which a list finds it, cost in descriptors."""
    return 4 * sum(len(manifest.document.labels or ()) for manifest in image.graph)


def _weight(manifest: ReadManifest) -> int:
    """What recording a manifest costs, in descriptors: a KiB of its config counts as one."""
    edges = manifest.document.edges
    return len(edges) + (sum(edge.child.size for edge in edges if edge.role is Role.CONFIG) >> 10)


def _distinct(loaded: list[_Loaded]) -> list[_Loaded]:
    """Each image once under each name, at its last position, so repeating it in a document costs no more than listing it once."""
    return list({(image.target.digest, image.reference): image for image in reversed(loaded)}.values())[::-1]


def _one_per_target(loaded: list[_Loaded]) -> list[_Loaded]:
    """One image per target: everything that depends only on its graph is decided once, however many names it has."""
    return list({image.target.digest: image for image in loaded}.values())


def _name(engine: Engine, loaded: list[_Loaded]) -> None:
    """Name these images, in one transaction."""
    with engine.metadata.read() as tx:
        labels = labels_of_targets(tx, engine, [image.target for image in _one_per_target(loaded)])
    with engine.metadata.write() as tx:
        for image in loaded:
            target = image.target.digest
            assign_name(tx, str(image.reference or dangling_name(target)), image.target, engine.clock())
            log_image(tx, engine, Action.LOAD, target, name=target, labels=labels[target])


def _read_images(
    engine: Engine, lease: Lease, entries: Sequence[Descriptor], documents: Documents, matcher: PlatformMatcher | None = None
) -> Generator[Progress, None, list[_Loaded]]:
    """Every image with its graph, which is read once for all names of a target: an archive may hold thousands of names."""
    leased = lease.digests()
    known = _referrers(entry for entry in entries if entry.digest in leased)
    read_referrer = cache(lambda referrer: read_graph(engine, leased, referrer, documents=documents)[0])

    @cache
    def read(media_type: str, digest: Digest, size: int) -> tuple[list[ReadManifest], dict[Digest, list[Descriptor]]]:
        graph = read_graph(engine, leased, Descriptor(media_type, digest, size), matcher=matcher, tolerant=True, documents=documents)
        artifacts: list[ReadManifest] = []
        referrers: dict[Digest, list[Descriptor]] = {}
        for subject in [manifest.document.digest for manifest in graph if manifest.document.kind is Kind.IMAGE]:
            for referrer in known.get(subject, ()):
                manifest = read_referrer(referrer)
                if manifest.document.kind is Kind.ARTIFACT:  # so that they cannot form a chain
                    artifacts.append(manifest)
                    referrers.setdefault(subject, []).append(referrer)
        return artifacts + graph, referrers

    loaded: list[_Loaded] = []
    for entry in filter(is_image, entries):
        target = Descriptor(entry.media_type, entry.digest, entry.size, entry.annotations)
        loaded.append(_Loaded(target, _reference(entry), *read(entry.media_type, entry.digest, entry.size)))
        yield Progress()
    refuse_unsound(engine, (child for image in _one_per_target(loaded) for child in (image.target, *image.listed)), leased)
    return loaded


def _referrers(entries: Iterable[Descriptor]) -> dict[Digest, list[Descriptor]]:
    """The manifests among these entries that refer to a subject, by that subject."""
    found: dict[Digest, dict[Digest, Descriptor]] = {}
    for entry in entries:
        if MANIFEST_SUBJECT in entry.annotations and is_manifest(entry.media_type):
            with suppress(InvalidDigest):
                subject = Digest.parse(entry.annotations[MANIFEST_SUBJECT])
                found.setdefault(subject, {})[entry.digest] = Descriptor(entry.media_type, entry.digest, entry.size)
    return {subject: list(referrers.values()) for subject, referrers in found.items()}


def _reference(entry: Descriptor) -> Reference | None:
    """The name that the archive gives to the entry, as an image is stored under it: with a tag or a digest, not both."""
    text = entry_name(entry)
    if text == dangling_name(entry.digest):
        return None
    try:
        reference = Reference.parse(text).tagged()
    except InvalidReference:
        return None
    if reference.digest is None:
        return reference
    if reference.digest != entry.digest:
        raise InvalidContent(f"image {reference.familiar} in the archive has another digest: {entry.digest}")
    return reference.trimmed().with_digest(reference.digest)


def _take_platforms(
    engine: Engine, lease: Lease, read: ReadArchive, documents: Documents, platforms: Sequence[Platform]
) -> Generator[Progress, None, list[_Loaded]]:
    """Store the archive under a lease of its own and move what the platforms need to the outer one; the rest is swept."""
    matcher = PlatformMatcher.any_of(tuple(platforms), engine.platform)
    wanted = "[" + " ".join(map(str, platforms)) + "]"
    with hold(engine.metadata, engine.content, "load") as staging:
        entries = yield from read(staging)
        if not any(is_wanted(entry, matcher) for entry in entries if is_image(entry)):
            raise NotFound(f"requested platform(s) ({wanted}) not found: image might be filtered out")
        loaded = yield from _read_images(engine, staging, entries, documents, matcher)
        targets = _one_per_target(loaded)
        whole = _whole_manifests(engine, targets)
        for image in targets:
            _check_matching_present(image, whole, matcher, wanted)
        lacking = {image.target.digest for image in targets if not _provides(image, whole, matcher)}
        _refuse_lacking([image.familiar for image in loaded if image.target.digest in lacking], wanted)
        lease.add({digest for image in targets for digest in graph_content(image.graph)})
    return loaded


def _whole_manifests(engine: Engine, loaded: Iterable[_Loaded]) -> dict[Digest, ManifestDocument]:
    """The manifests that were read, and those that an index lists and the store already had."""
    read = {manifest.document.digest: manifest.document for image in loaded for manifest in image.graph}
    with engine.metadata.read() as tx:
        known = whole_manifests(engine, tx, {child.digest for image in loaded for child in image.listed})
    return known | read


def _check_matching_present(image: _Loaded, whole: Collection[Digest], matcher: PlatformMatcher, wanted: str) -> None:
    """Refuse an index that lists a manifest for one of the platforms, or its attestation, without its content."""
    for child in [child for manifest in image.graph for child in wanted_manifests(_children(manifest), matcher)]:
        if child.digest not in whole:
            missing = f"content digest {child.digest}: not found"
            raise NotFound(f"requested platform(s) ({wanted}) found, but some content is missing: {missing}")


def _refuse_lacking(lacking: list[str], wanted: str) -> None:
    """Refuse the archive if any of its images provides none of the platforms."""
    if len(lacking) == 1:
        raise NotFound(f"image {lacking[0]} doesn't provide the requested platform ({wanted})")
    if lacking:
        raise NotFound(f"images [{', '.join(lacking)}] don't provide the requested platform ({wanted})")


def _children(manifest: ReadManifest) -> list[Descriptor]:
    """What an index lists."""
    return [edge.child for edge in manifest.document.edges if edge.role is Role.MANIFEST]


def _provides(image: _Loaded, whole: Mapping[Digest, ManifestDocument], matcher: PlatformMatcher) -> bool:
    """Whether a whole manifest is for one of the platforms, by its entry in the index or else its config."""
    listed = {child.digest: child.platform for child in image.listed}
    manifests = [whole[digest] for digest in {image.target.digest, *listed} & whole.keys()]
    platforms = [listed.get(facts.digest) or facts.platform for facts in manifests if facts.kind is not Kind.INDEX]
    return any(platform is not None and matcher.matches(platform) for platform in platforms)


def _drain(source: Readable) -> None:
    """Read on, so the client can send everything and then receive the answer; how the body ends no longer matters."""
    left = _DRAIN_BYTES
    with suppress(EngineError):
        while left > 0 and (chunk := source.read(_DRAIN_CHUNK)):
            left -= len(chunk)
