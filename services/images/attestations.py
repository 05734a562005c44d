"""The in-toto statements that BuildKit attached to an image: provenance, SBOM.

They are the layers of an attestation manifest, which an index lists beside the image manifest that it describes.

Source: moby daemon/containerd/image_attestations.go; moby/policy-helpers image/resolve.go.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from threading import Lock

from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, Internal, InvalidContent, NotFound, Unavailable, Unsupported
from stowage.services.metadata.records import ManifestDocument, Role
from stowage.services.metadata.store import Transaction
from stowage.services.oci import gojson, mediatypes
from stowage.services.oci.descriptor import Descriptor, first_attestation_of
from stowage.services.oci.digest import Digest
from stowage.services.oci.manifest import choose_manifests
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.store.reading import read_document
from stowage.services.store.resolve import resolve_image

MAX_STATEMENT_BYTES = 64 << 20
"""The limit for all statements of one answer, which is built in memory."""

MAX_STATEMENT_VALUES = 1 << 21
"""JSON values of one statement; an SBOM has one per 30 bytes or more."""

_VALUE_BYTES = 75
"""Memory for a value while it is checked: no object is kept."""

_turn = Lock()
"""Statements are checked for one request at a time: checking computes, and several requests that hold memory would wait for more of it."""
_TURN_SECONDS = 10

_PREDICATE_TYPE = "in-toto.io/predicate-type"


@dataclass(frozen=True, slots=True)
class Attestation:
    """A statement: its blob, the type of its predicate and, if requested, its JSON as it was stored."""

    descriptor: Descriptor
    predicate_type: str
    statement: bytes | None = None


def read_attestations(
    engine: Engine, name: str, *, platform: Platform | None = None, types: Collection[str] = (), costs: Costs | None = None
) -> list[Attestation]:
    """The attestations of the image for a platform (default: the engine's), of these predicate types or of all, in their order. With their
    statements if there are `costs`, which count what these and the answer take in memory.

    Empty if the image is not an OCI index or that platform has none. Raises InvalidReference, ImageNotFound, NotFound for a platform that
    the index does not list or an attestation that is not present, Unsupported for more than MAX_STATEMENT_BYTES of statements or
    MAX_STATEMENT_VALUES in one, Internal for one that is not JSON, and what `Costs.keep` does.
    """
    with engine.metadata.read() as tx:
        target = resolve_image(tx, name).target
        if target.media_type != mediatypes.OCI_INDEX:
            return []
        manifest = _find_manifest(tx, target, platform or engine.platform.without_level().normalized())
    found = [each for each in _attestations(manifest) if not types or each.predicate_type in types] if manifest else []
    return _with_statements(engine, found, costs) if costs else found


def read_predicate_types(engine: Engine, manifests: Collection[Digest]) -> dict[Digest, list[str]]:
    """The types of the predicates of each of these attestation manifests that is present."""
    with engine.metadata.read() as tx:
        found = tx.graph.manifests(manifests)
    return {digest: [each.predicate_type for each in _attestations(facts)] for digest, facts in found.items()}


def _find_manifest(tx: Transaction, target: Descriptor, platform: Platform) -> ManifestDocument | None:
    """The attestation manifest of the best image manifest for the platform, present or not."""
    index = tx.graph.manifest(target.digest)
    listed = [edge.child for edge in index.edges if mediatypes.is_manifest(edge.child.media_type)] if index else []
    chosen = choose_manifests(listed, PlatformMatcher.only(platform))
    if not chosen:
        raise NotFound(f"resolving image manifest for platform {_go_words(platform)}: no manifest for platform {platform}: not found")
    attesting = first_attestation_of(chosen[0], listed)
    if attesting is None:
        return None
    manifest = tx.graph.manifest(attesting.digest)
    if manifest is None:
        raise NotFound(f"reading blob {attesting.digest}: content digest {attesting.digest}: not found")
    return manifest


def _go_words(platform: Platform) -> str:
    """The platform as Go prints a pointer to the struct."""
    features = " ".join(platform.os_features)
    return (
        f"&{{Architecture:{platform.architecture} OS:{platform.os} OSVersion:{platform.os_version} "
        f"OSFeatures:[{features}] Variant:{platform.variant}}}"
    )


def _attestations(manifest: ManifestDocument) -> Iterator[Attestation]:
    for edge in manifest.edges:
        predicate_type = edge.child.annotations.get(_PREDICATE_TYPE, "")
        if edge.role is Role.LAYER and predicate_type:
            yield Attestation(edge.child, predicate_type)


def _with_statements(engine: Engine, attestations: list[Attestation], costs: Costs) -> list[Attestation]:
    """With their statements, which are kept, and then copied into the answer."""
    total = sum(each.descriptor.size for each in attestations)
    if total > MAX_STATEMENT_BYTES:
        raise Unsupported(f"the attestation statements are larger than {MAX_STATEMENT_BYTES} bytes; request one predicate type at a time")
    costs.keep(total)
    found = [replace(each, statement=_read_statement(engine, each.descriptor)) for each in attestations]
    if not _turn.acquire(timeout=_TURN_SECONDS):
        raise Unavailable("other attestation statements are being checked: try again when that has ended")
    try:
        for each in found:
            _check_statement(each.descriptor.digest, each.statement or b"", costs)
    finally:
        _turn.release()
    costs.keep(total)
    return found


def _read_statement(engine: Engine, descriptor: Descriptor) -> bytes:
    try:
        return read_document(engine, descriptor.digest, most=descriptor.size)
    except BlobNotFound as exc:
        raise NotFound(f"attestation statement {descriptor.digest} is not available locally: {exc}") from exc


def _check_statement(digest: Digest, raw: bytes, costs: Costs) -> None:
    """Raise Unsupported or Internal for one that is not JSON of a bounded number of values; what that takes is counted meanwhile."""
    try:
        gojson.check_values(raw, MAX_STATEMENT_VALUES)
    except InvalidContent as exc:
        raise Unsupported(f"attestation statement {digest} is too large: {exc}") from exc
    taken = gojson.decode_memory(raw, most=MAX_STATEMENT_VALUES, each=_VALUE_BYTES)
    costs.keep(taken)
    try:
        gojson.check(raw)
    except InvalidContent as exc:
        raise Internal(f"attestation statement {digest} is not JSON: {exc}") from exc
    costs.keep(-taken)
