"""Push: copy a local image, or every tag of a repository, to a registry, byte for byte.

Blobs are sent before the manifests that name them, manifests before indexes, and the target last, under its tag. What the registry has is
not sent, and what another of its repositories is known to hold is mounted from there. Foreign layers are not sent.

Source: moby daemon/containerd/image_push.go (PushImage, pushRef); containerd core/remotes/docker/handler.go
(selectRepositoryMountCandidate).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from stowage.services.engine import Engine
from stowage.services.errors import NotFound
from stowage.services.gc.leases import hold
from stowage.services.metadata.records import ImageRecord, Kind
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import PresentManifests, read_manifests
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.registry.credentials import Credentials
from stowage.services.store.events import Action, image_labels, log_image
from stowage.services.store.export_target import choose_target
from stowage.services.store.reading import refuse_damaged
from stowage.services.store.resolve import repo_tag_reference
from stowage.services.transfer.upload import Uploads


def push_reference(image: str, tag: str) -> Reference:
    """The reference that a push's name and `tag` form together; without a tag it may name a whole repository. Raises InvalidReference."""
    return (tag and repo_tag_reference(image, tag)) or Reference.parse(image)


def push_image(
    engine: Engine,
    reference: Reference,
    *,
    to: Reference | None = None,
    platform: Platform | None = None,
    credentials: Credentials | None = None,
    headers: Mapping[str, str] | None = None,
) -> ProgressStream:
    """Push the image of this name, or every tag of the repository; with a platform its manifest alone, under the same tag.

    `to` is another name to push to, which the store does not get; the reference is then not that of a whole repository. If an index is
    incomplete here, the manifest that `choose_target` returns is pushed instead, and a note says so. `headers` are sent to the registry.
    The first line comes before anything can fail. Then raises NotFound, Conflict, and what `Destination` raises. Closing ends the uploads
    at once.
    """
    yield Progress(f"The push refers to repository [{(to or reference).name}]")
    for each in _references(engine, reference):
        yield from _Push(engine, each, to or each, platform, credentials, headers or {}).run()


def _references(engine: Engine, reference: Reference) -> list[Reference]:
    if not reference.is_name_only:
        return [reference]
    with engine.metadata.read() as tx:
        found = [Reference.parse_canonical(record.name) for record in tx.images.in_repository(reference.name)]
    if not found:
        raise NotFound(f"An image does not exist locally with the tag: {reference.familiar_name}")
    return found


@dataclass(slots=True)
class _Plan:
    """The content of a target, each digest once; indexes come after their manifests. `absent` is the first that is not present."""

    target: Descriptor
    blobs: dict[Digest, Descriptor] = field(default_factory=dict)
    manifests: dict[Digest, Descriptor] = field(default_factory=dict)
    indexes: dict[Digest, Descriptor] = field(default_factory=dict)
    absent: Digest | None = None

    def add(self, descriptor: Descriptor, manifests: PresentManifests, present: set[Digest]) -> None:
        """Plan this and all below it, unless that has been done: the paths through several levels of indexes are too many."""
        if descriptor.digest in self.manifests or descriptor.digest in self.indexes:
            return
        known = manifests.get(descriptor.digest)
        if known is None:
            self._add_blob(descriptor, present)
            return
        for edge in known.edges:
            self.add(edge.child, manifests, present)
        (self.indexes if known.kind is Kind.INDEX else self.manifests)[descriptor.digest] = descriptor

    def _add_blob(self, descriptor: Descriptor, present: set[Digest]) -> None:
        media_type = descriptor.media_type
        if mediatypes.is_foreign_layer(media_type):
            return
        if descriptor.digest in present and not mediatypes.is_manifest(media_type) and not mediatypes.is_index(media_type):
            self.blobs.setdefault(descriptor.digest, descriptor)
        else:
            self.absent = self.absent or descriptor.digest

    @property
    def digests(self) -> set[Digest]:
        return {*self.blobs, *self.manifests, *self.indexes}


@dataclass(frozen=True, slots=True)
class _Push:
    """The push of the image of one name to a reference, which usually is the same."""

    engine: Engine
    name: Reference
    reference: Reference
    platform: Platform | None
    credentials: Credentials | None
    headers: Mapping[str, str]

    def run(self) -> ProgressStream:
        engine, reference = self.engine, self.reference
        with engine.metadata.read() as tx:
            record, plan = self._plan(tx)
            sources = _mount_sources(tx, plan, reference)
        if plan.absent:
            yield Progress(aux={"contentMissing": True, "desc": plan.target.to_json()})
            raise NotFound(f"content digest {plan.absent}: not found")
        with hold(engine.metadata, engine.content, f"push {reference}", digests=plan.digests) as lease:
            if unsound := plan.digests - lease.sound():
                refuse_damaged(engine, unsound)
                raise NotFound(f"{self.name.familiar} was removed while it was about to be pushed")
            with engine.registry.destination(reference, credentials=self.credentials, headers=self.headers) as destination:
                yield from self._push(plan, Uploads(engine, destination), sources)
            with lease.ending() as tx:
                tx.sources.add(plan.digests, registry=reference.domain, repository=reference.path)
                labels = image_labels(tx, engine, record.target.digest)
                log_image(tx, engine, Action.PUSH, reference.familiar, name=reference.familiar_name, labels=labels)
        if plan.target.digest != record.target.digest and not self.platform:
            yield Progress(detail=Detail(), aux=_instead_of_index(record.target, plan.target))
        yield from _closing_lines(reference, plan.target)

    def _plan(self, tx: Transaction) -> tuple[ImageRecord, _Plan]:
        record = tx.images.get(str(self.name))
        if record is None:
            raise NotFound(f"tag does not exist: {self.name.familiar}")
        manifests = read_manifests(tx, record.target.digest)
        whole = None if self.platform else _plan_target(tx, record.target, manifests)
        if whole and not whole.absent:
            return record, whole
        target = choose_target(record, manifests, platform=self.platform, preferred=self.engine.platform)
        return record, _plan_target(tx, target, manifests)

    def _push(self, plan: _Plan, uploads: Uploads, sources: Mapping[Digest, str]) -> ProgressStream:
        """Push everything in the order in which a registry accepts it."""
        target, tag = plan.target, self.reference.tag
        is_there = yield from uploads.reach(target, tag)
        yield from uploads.push_blobs(list(plan.blobs.values()), sources)
        yield from uploads.push_manifests([manifest for manifest in plan.manifests.values() if manifest is not target])
        for index in plan.indexes.values():
            if index is not target:
                yield from uploads.push_manifests([index])
        if uploads.has_sent or not is_there:  # what has taken long may have let another client move the tag
            yield from uploads.push_manifests([target], tag)


def _plan_target(tx: Transaction, target: Descriptor, manifests: PresentManifests) -> _Plan:
    plan = _Plan(target)
    children = {edge.child.digest for known in manifests.values() for edge in known.edges}
    plan.add(target, manifests, tx.graph.present(children))
    return plan


def _mount_sources(tx: Transaction, plan: _Plan, reference: Reference) -> dict[Digest, str]:
    """Per blob, the repository of the same registry to mount it from: the known one whose name has the longest common beginning."""
    known = tx.sources.repositories(plan.blobs, registry=reference.domain)
    others = {digest: [name for name in names if name != reference.path] for digest, names in known.items()}
    return {digest: max(names, key=lambda name: _common_components(name, reference.path)) for digest, names in others.items() if names}


def _common_components(left: str, right: str) -> int:
    pairs = list(zip(left.split("/"), right.split("/"), strict=False))
    return next((number for number, (one, other) in enumerate(pairs) if one != other), len(pairs))


def _instead_of_index(index: Descriptor, manifest: Descriptor) -> dict[str, object]:
    """Source: moby api/types/auxprogress (ManifestPushedInsteadOfIndex)."""
    return {"manifestPushedInsteadOfIndex": True, "originalIndex": index.to_json(), "selectedManifest": manifest.to_json()}


def _closing_lines(reference: Reference, target: Descriptor) -> Iterator[Progress]:
    if reference.tag is not None:
        yield Progress(f"{reference.tag}: digest: {target.digest} size: {target.size}")
        yield Progress(detail=Detail(), aux={"Tag": reference.tag, "Digest": str(target.digest), "Size": target.size})
