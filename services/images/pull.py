"""Pull: a name at a registry becomes a local image, with the content of one platform.

The name's target is the manifest or index that the registry names. Of an index only the platform's manifest and its attestation are pulled,
and what the store has of other platforms is fetched again if it is damaged, so that a save of the image succeeds.
The manifests are read before the first line, so what cannot be pulled is answered with a status.

Source: moby daemon/server/router/image/image_routes.go (postImagesCreate), daemon/containerd/image_pull.go and progress.go.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import EngineError, Forbidden, ImageNotFound, InvalidContent, InvalidDigest, NotFound
from stowage.services.gc.leases import hold
from stowage.services.metadata.records import Kind
from stowage.services.metadata.store import Transaction
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES, Index, Manifest, choose_manifests
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.oci.reference import Reference
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.repository import Repository
from stowage.services.store.documents import Documents
from stowage.services.store.events import Action, labels_of_targets, log_image
from stowage.services.store.graph import MAX_DEPTH, read_graph
from stowage.services.store.publish import assign_name, graph_content, record_graph
from stowage.services.store.resolve import resolve_image
from stowage.services.store.unsound import unsound_parts
from stowage.services.transfer.download import FetchedDocuments, download_blobs
from stowage.services.transfer.parallel import is_shown
from stowage.services.transfer.retry import patiently

_INDEX_MEMORY, _MANIFEST_MEMORY = 8, 24
"""Bytes of memory for each byte of a document, roughly: as it arrives, parsed, and, for each layer of a manifest, what waits for it."""


def pull_reference(image: str, tag: str) -> Reference:
    """The reference that the `fromImage` and `tag` fields form together; without a tag it may name a whole repository.

    One trailing colon of `image` is dropped; a `tag` may be a digest and then replaces any tag of `image`. Raises InvalidReference, and
    Forbidden for `scratch`.
    """
    reference = Reference.parse(image.removesuffix(":"))
    if tag:
        try:
            reference = reference.trimmed().with_digest(Digest.parse(tag))
        except InvalidDigest:
            reference = reference.with_tag(tag)
    if reference.familiar_name == "scratch":
        raise Forbidden("'scratch' is a reserved name")
    return reference


def pull_image(
    engine: Engine,
    reference: Reference,
    *,
    platform: Platform | None = None,
    credentials: Credentials | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProgressStream:
    """Pull what the reference names, or every tag of a repository; `headers` are sent to the registry.

    Empty ticks come before the first line, while waiting for the registry. Raises what `Repository` and `Costs` raise, before the first
    line: NotFound also if an index has nothing for the platform, InvalidContent for wrong bytes. The name appears when all content is
    verified and recorded. Until then a failure or a close changes nothing, except that a lease keeps finished blobs for the next try.
    """
    wanted = platform or engine.platform
    with engine.registry.repository(reference, credentials=credentials, headers=headers) as repository:
        if not reference.is_name_only:
            yield from _pull_one(engine, repository, reference, wanted)
            return
        with closing(Costs(engine.memory)) as costs:
            tags = yield from patiently(lambda: repository.tags(costs.keep), engine.limits)
            for tag in tags:
                tagged = reference.with_tag(tag)
                try:
                    yield from _pull_one(engine, repository, tagged, wanted)
                except EngineError as exc:
                    raise type(exc)(f"error pulling {tagged}: {exc}") from exc


def _pull_one(engine: Engine, repository: Repository, reference: Reference, platform: Platform) -> ProgressStream:
    target = yield from patiently(lambda: repository.resolve(reference), engine.limits)
    matcher = PlatformMatcher.only(platform)
    documents = FetchedDocuments(engine)
    with engine.metadata.read() as tx:
        previous = _target_before(tx, reference)
        documents.look(tx, [target.digest])
        content = _whole_content(tx, target, matcher) if _has_name(tx, reference, target, previous) else set()
        is_sound = bool(content) and not unsound_parts(engine, tx, [target])
    if is_sound:
        with engine.metadata.write() as tx:
            _record(tx, engine, reference, target, content)
        yield _pulling_from(reference)
    else:
        with closing(Costs(engine.memory)) as costs:
            yield from _Pull(engine, repository, reference, platform, matcher, documents, costs).run(target)
    yield Progress(f"Digest: {target.digest}")
    known = "Image is up to date for" if previous == target.digest else "Downloaded newer image for"
    yield Progress(f"Status: {known} {reference.familiar}")


def _record(tx: Transaction, engine: Engine, reference: Reference, target: Descriptor, content: set[Digest]) -> None:
    """Record that the repository has this content and that the target was pulled."""
    tx.sources.add(content, registry=reference.domain, repository=reference.path)
    labels = labels_of_targets(tx, engine, [target])[target.digest]
    log_image(tx, engine, Action.PULL, reference.familiar, name=reference.familiar_name, labels=labels)


def _pulling_from(reference: Reference) -> Progress:
    return Progress(f"Pulling from {reference.path}", reference.tag or str(reference))


def _target_before(tx: Transaction, reference: Reference) -> Digest | None:
    """What the reference means locally before the pull."""
    try:
        return resolve_image(tx, str(reference)).target.digest
    except ImageNotFound:
        return None


def _has_name(tx: Transaction, reference: Reference, target: Descriptor, previous: Digest | None) -> bool:
    if previous != target.digest:
        return False
    record = tx.images.get(str(reference))
    return record is not None and record.target.digest == target.digest


def _whole_content(tx: Transaction, descriptor: Descriptor, matcher: PlatformMatcher) -> set[Digest]:
    """Everything that a pull for this platform would store, or nothing if any of it has no row."""
    facts = tx.graph.manifest(descriptor.digest)
    if facts is None:
        return set()
    children = [edge.child for edge in facts.edges]
    if facts.kind is Kind.INDEX:
        parts = [_whole_content(tx, child, matcher) for child in choose_manifests(children, matcher)]
        return {descriptor.digest}.union(*parts) if parts and all(parts) else set()
    needed = {child.digest for child in children if not mediatypes.is_foreign_layer(child.media_type)}
    return {descriptor.digest} | needed if tx.graph.present(needed) == needed else set()


@dataclass(frozen=True, slots=True)
class _Pull:
    """The pull of one reference."""

    engine: Engine
    repository: Repository
    reference: Reference
    platform: Platform
    matcher: PlatformMatcher
    documents: FetchedDocuments
    costs: Costs
    listed: dict[Digest, Descriptor] = field(default_factory=dict)
    """The target and every manifest that an index which was read lists, for any platform."""

    def run(self, target: Descriptor) -> ProgressStream:
        """Fetch what is missing of the target, verify all of it, and give it the name."""
        engine = self.engine
        needed = {blob.digest: blob for blob in (yield from self._blobs(target, depth=0))}
        others = yield from self._unsound_blobs(needed)
        blobs = [*needed.values(), *others]
        digests = {*self.documents.content, *(blob.digest for blob in blobs)}
        note = f"pull {self.reference}"
        with hold(engine.metadata, engine.content, note, digests=digests, prepares=True, keep_on_failure=True) as lease:
            yield _pulling_from(self.reference)
            present = lease.sound()
            missing = [blob for blob in blobs if blob.digest not in present]
            self.documents.store(lease, present)
            if missing:
                yield from _announce(blobs, present)
                with _explained(others):
                    yield from download_blobs(engine, lease, self.repository, missing)
            engine.tally.add(reused=len(blobs) - len(missing), fetched=len(missing))
            content = lease.digests()
            graph = read_graph(engine, content, target, documents=Documents(read=self.documents.read), known=content)
            with lease.ending(kept=graph_content(graph)) as tx:
                record_graph(tx, graph, self.documents.content)
                assign_name(tx, str(self.reference), target, engine.clock())
                _record(tx, engine, self.reference, target, content)
        yield from (_line("Pull complete", blob) for blob in missing if mediatypes.is_layer(blob.media_type))

    def _blobs(self, descriptor: Descriptor, *, depth: int) -> Generator[Progress, None, list[Descriptor]]:
        """Read the manifests that the platform needs, and list the blobs that these need, each config first; yields ticks."""
        if depth > MAX_DEPTH:
            raise InvalidContent(f"index {descriptor.digest} is nested too deeply")
        is_index = mediatypes.is_index(descriptor.media_type)
        self.costs.keep((_INDEX_MEMORY if is_index else _MANIFEST_MEMORY) * min(descriptor.size, MAX_MANIFEST_BYTES))
        raw = yield from self._document(descriptor)
        self.listed[descriptor.digest] = descriptor
        if not is_index:
            manifest = Manifest.parse(raw, descriptor.media_type)
            return [manifest.config, *manifest.layers]
        index = Index.parse(raw, descriptor.media_type)
        self.listed.update((child.digest, child) for child in index.manifests)
        with self.engine.metadata.read() as tx:
            self.documents.look(tx, [child.digest for child in index.manifests])
        chosen = choose_manifests(index.manifests, self.matcher)
        if not chosen:
            raise NotFound(
                f"no matching manifest for {self.platform} in the manifest list entries: no match for platform in manifest: not found"
            )
        needed = []
        for child in chosen:
            needed += yield from self._blobs(child, depth=depth + 1)
        return needed

    def _unsound_blobs(self, needed: Mapping[Digest, Descriptor]) -> Generator[Progress, None, list[Descriptor]]:
        """What is damaged of the image's other platforms that the store has: fetch the manifests again, list the blobs; yields ticks."""
        if not self.documents.recorded:
            return []
        with self.engine.metadata.read() as tx:
            unsound = [part.blob for part in unsound_parts(self.engine, tx, self.listed.values()) if part.blob.digest not in needed]
        with _explained(unsound):
            for manifest in filter(_is_document, unsound):
                yield from self._document(manifest)
        return [blob for blob in unsound if not _is_document(blob)]

    def _document(self, descriptor: Descriptor) -> Generator[Progress, None, bytes]:
        """A manifest's bytes, from the store if it is sound there; yields ticks."""
        raw = self.documents.find(descriptor.digest)
        if raw is None:
            raw = yield from patiently(lambda: self.repository.manifest(descriptor), self.engine.limits)
            self.documents.keep(descriptor.digest, raw)
        return raw


def _is_document(blob: Descriptor) -> bool:
    return mediatypes.is_manifest(blob.media_type) or mediatypes.is_index(blob.media_type)


@contextmanager
def _explained(others: list[Descriptor]) -> Iterator[None]:
    """Say why blobs were fetched that the wanted platform does not need, if the registry does not have one."""
    try:
        yield
    except NotFound as exc:
        if not others:
            raise
        raise NotFound(
            f"{exc}; damaged content of other platforms of this image is fetched again too: if the registry no longer has it, delete the "
            "image and pull it again"
        ) from exc


def _announce(blobs: list[Descriptor], present: set[Digest]) -> Iterator[Progress]:
    """What will be fetched, and what is already present."""
    for blob in blobs:
        if blob.digest in present and is_shown(blob):
            yield _line("Already exists", blob)
        elif blob.digest not in present and mediatypes.is_layer(blob.media_type):
            yield Progress("Pulling fs layer", blob.digest.short, Detail())


def _line(status: str, blob: Descriptor) -> Progress:
    return Progress(status, blob.digest.short, Detail(hide_counts=True))
