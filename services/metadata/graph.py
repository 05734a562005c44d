"""Blobs, layers, manifests and edges as rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Column, Connection, Executable, Row, bindparam, delete, func, insert, select, update

from stowage.services.errors import BlobNotFound
from stowage.services.metadata import reach
from stowage.services.metadata.facts import MANIFESTS, edge_rows, manifest_row, read_edges, read_listed, to_manifest
from stowage.services.metadata.objects import consume_intents, doom_blobs
from stowage.services.metadata.reach import DIGESTS
from stowage.services.metadata.records import Edge, LayerFacts, ManifestDocument, Role
from stowage.services.metadata.rows import in_chunks, load_descriptor, to_digest
from stowage.services.metadata.tables import blob, config, edge, layer, layer_files, manifest, source
from stowage.services.metadata.targets import Upkeep
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest

_AT_ONCE = 200
"""How many targets are measured at once: what is below each is in memory."""

NOWHERE: Mapping[Digest, str] = {}
"""The locations of blobs that are in files of their digests."""

_BLOBS = select(blob.c.digest, blob.c.size)
_SIZES = _BLOBS.where(blob.c.digest.in_(DIGESTS))
_STATE = select(blob.c.digest, blob.c.size, blob.c.damage, blob.c.location).where(blob.c.digest.in_(DIGESTS))
_UNMARKED = _SIZES.where(blob.c.damage.is_(None))
_DAMAGES = select(blob.c.digest, blob.c.damage).where(blob.c.digest.in_(DIGESTS), blob.c.damage.is_not(None))
_LAYERS = select(layer.c.digest, layer.c.diff_id, layer.c.size).where(layer.c.digest.in_(DIGESTS))
_BY_DIFF_ID = (
    select(layer.c.diff_id, layer.c.digest)
    .join(blob, blob.c.digest == layer.c.digest)
    .where(layer.c.diff_id.in_(DIGESTS), layer.c.digest != layer.c.diff_id, blob.c.damage.is_(None))
    .order_by(blob.c.created_at.desc(), layer.c.digest)
)
# Ranges of indexes; no hexadecimal digit is after `f`.
_BLOBS_BETWEEN = select(blob.c.digest).where(blob.c.digest >= bindparam("first"), blob.c.digest < bindparam("beyond")).limit(2)
_LAYERS_BETWEEN = (
    select(func.min(layer.c.digest))
    .where(layer.c.diff_id >= bindparam("first"), layer.c.diff_id < bindparam("beyond"))
    .group_by(layer.c.diff_id)
    .limit(2)
)
_CONFIG = select(config.c.raw).where(config.c.manifest == bindparam("manifest"))
_MANIFESTS = MANIFESTS.where(manifest.c.digest.in_(DIGESTS))
_OPTIONAL = (Role.MANIFEST, Role.REFERRER)
_NEEDING = select(edge.c.parent).where(edge.c.child.in_(DIGESTS), edge.c.role.not_in(_OPTIONAL))
_LAST_EDGE = select(func.max(edge.c.position)).where(edge.c.parent == bindparam("subject"))
_REFERRERS = select(edge.c.descriptor).where(edge.c.parent == bindparam("subject"), edge.c.role == Role.REFERRER).order_by(edge.c.position)
_RECORDED = (
    select(blob.c.digest, manifest.c.digest).outerjoin(manifest, manifest.c.digest == blob.c.digest).where(blob.c.digest.in_(DIGESTS))
)


class Graph:
    """Blobs, layers, manifests and edges."""

    def __init__(self, connection: Connection, upkeep: Upkeep) -> None:
        self._connection = connection
        self._upkeep = upkeep
        self._new: set[Digest] = set()  # blobs of this transaction that have no facts

    def present(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these have a blob row, marked or not."""
        return set(self.blob_sizes(digests))

    def blob_sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        return {to_digest(digest): size for digest, size in self._rows(_SIZES, digests)}

    def unmarked(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """Which of these have a blob row that is not marked as damaged, with their sizes; see services/gc/damage.py."""
        return {to_digest(digest): size for digest, size in self._rows(_UNMARKED, digests)}

    def damages(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """Which of these are marked as damaged, and what was found wrong with them."""
        return {to_digest(digest): damage for digest, damage in self._rows(_DAMAGES, digests)}

    def mark(self, digest: Digest, damage: str | None, location: str = "") -> None:
        """Mark a blob as damaged, in the words of the finding, or remove the mark, unless it has no row or another location."""
        self._connection.execute(update(blob).where(blob.c.digest == str(digest), blob.c.location == location).values(damage=damage))

    def all_blobs(self) -> dict[Digest, int]:
        """Every blob row and its size, for verify."""
        return {to_digest(digest): size for digest, size in self._connection.execute(_BLOBS)}

    def all_manifests(self) -> set[Digest]:
        """Every manifest row, for verify."""
        return {to_digest(digest) for digest in self._connection.scalars(select(manifest.c.digest))}

    def add_blob(self, digest: Digest, size: int, now: int, location: str = "") -> None:
        """Record a blob whose file is committed; if it is already recorded, only remove its mark and correct its size.

        The location of an object consumes its intent and dooms the one before; raises Internal without one: its lease has ended.
        """
        self.add_blobs({digest: size}, now, {digest: location} if location else {})

    def add_blobs(self, sizes: Mapping[Digest, int], now: int, locations: Mapping[Digest, str] = NOWHERE) -> None:
        """The same for several, recorded one nanosecond apart to keep their order."""
        consume_intents(self._connection, locations)
        known = {to_digest(digest): state for digest, *state in self._rows(_STATE, sizes)}
        rows = [
            {"digest": str(digest), "size": size, "created_at": now + position, "location": locations.get(digest, "")}
            for position, (digest, size) in enumerate(sizes.items())
            if digest not in known
        ]
        if rows:
            self._connection.execute(insert(blob), rows)
            self._new |= sizes.keys() - known.keys()
        moved = (digest for digest, (_, _, location) in known.items() if location != locations.get(digest, ""))
        doom_blobs(self._connection, moved)
        for digest, state in known.items():
            new = {"size": sizes[digest], "damage": None, "location": locations.get(digest, "")}
            if state != list(new.values()):
                self._connection.execute(update(blob).where(blob.c.digest == str(digest)).values(new))
        before = {digest: state[0] for digest, state in known.items()}
        self._upkeep.resize({digest: more for digest, size in sizes.items() if (more := size - before.get(digest, 0))})

    def add_layer(self, digest: Digest, facts: LayerFacts) -> None:
        self.add_layers({digest: facts})

    def add_layers(self, facts: Mapping[Digest, LayerFacts]) -> None:
        known = self.layers(facts.keys() - self._new)
        rows = [
            {"digest": str(digest), "diff_id": str(each.diff_id), "size": each.size}
            for digest, each in facts.items()
            if digest not in known
        ]
        if rows:
            self._connection.execute(insert(layer), rows)
            self._new -= facts.keys()

    def layers(self, digests: Iterable[Digest]) -> dict[Digest, LayerFacts]:
        return {to_digest(digest): LayerFacts(to_digest(diff_id), size) for digest, diff_id, size in self._rows(_LAYERS, digests)}

    def by_diff_id(self, diff_ids: Iterable[Digest]) -> dict[Digest, Digest]:
        """diff_id -> digest of an unmarked compressed blob with that uncompressed stream (the blob recorded first)."""
        return {to_digest(diff_id): to_digest(digest) for diff_id, digest in self._rows(_BY_DIFF_ID, diff_ids)}

    def by_prefix(self, prefix: str) -> list[Digest]:
        """The blobs whose digests begin with `algorithm:digits`, or else a layer for each diff_id that does; two at most."""
        between = {"first": prefix, "beyond": f"{prefix}g"}
        blobs = self._connection.scalars(_BLOBS_BETWEEN, between).all()
        return list(map(to_digest, blobs or self._connection.scalars(_LAYERS_BETWEEN, between)))

    def add_manifest(self, document: ManifestDocument, config: bytes | None) -> None:
        """Record a manifest, its edges and (of an image) its raw config; recording it again changes nothing.

        Raises BlobNotFound if a child that must be present is not (a sweep removed it from a writer whose lease had ended).
        """
        self.add_manifests([(document, config)])

    def add_manifests(self, manifests: Iterable[tuple[ManifestDocument, bytes | None]]) -> None:
        """The same for several. Raises InvalidContent if the images that list them are too large together."""
        given = {document.digest: (document, config) for document, config in manifests}
        needed = {edge.child.digest for document, _ in given.values() for edge in document.needed}
        recorded, present = self._recorded(given.keys() | needed)
        new = [each for digest, each in given.items() if digest not in recorded]
        if new:
            _require_children((document for document, _ in new), present)
            self._upkeep.extend(document.digest for document, _ in new)
            self._insert_manifests(new)

    def add_referrers(self, referrers: Mapping[Digest, Iterable[Descriptor]]) -> None:
        """Per recorded manifest, keep what refers to it as long as the manifest exists; what is already kept changes nothing."""
        new = {subject: self._unknown_referrers(subject, each) for subject, each in referrers.items()}
        self._upkeep.extend(subject for subject, each in new.items() if each)
        for subject, each in new.items():
            self._insert_referrers(subject, each)

    def referrers(self, subject: Digest) -> list[Descriptor]:
        """What is kept with a manifest because it refers to it, oldest first; not among the edges of the manifest's facts."""
        return [load_descriptor(text) for text in self._connection.scalars(_REFERRERS, {"subject": str(subject)})]

    def manifest(self, digest: Digest) -> ManifestDocument | None:
        return self.manifests([digest]).get(digest)

    def manifests(self, digests: Iterable[Digest]) -> dict[Digest, ManifestDocument]:
        among = set(digests)
        edges = read_edges(self._connection, among)
        read = (to_manifest(row, edges) for row in self._rows(_MANIFESTS, among))
        return {each.digest: each for each in read}

    def listed(self, targets: Iterable[Digest]) -> dict[Digest, ManifestDocument]:
        """These targets and every present manifest and index that they list. Only those of an index have their edges."""
        return read_listed(self._connection, map(str, targets))

    def config(self, manifest: Digest) -> bytes | None:
        """The raw image config of an image manifest."""
        return self._connection.scalar(_CONFIG, {"manifest": str(manifest)})

    def descriptors(self, targets: Iterable[Digest]) -> dict[Digest, int]:
        """How many descriptors are below each of these; raises InvalidContent for one that is too large to become an image."""
        found: dict[Digest, int] = {}
        for chunk in in_chunks(targets, _AT_ONCE):
            links = reach.read_links(self._connection, chunk)
            found |= {to_digest(digest): reach.require_few(digest, links) for digest in chunk}
        return found

    def content_sizes(self, manifests: Iterable[Digest]) -> dict[Digest, int]:
        """The bytes of all that is present of what each of these manifests reaches, itself included."""
        asked = set(manifests)
        links = reach.read_links(self._connection, map(str, asked))
        sizes = dict(map(tuple, self._rows(_SIZES, set(map(str, asked)).union(*links.values()))))
        return {digest: sum(sizes.get(each, 0) for each in reach.walk(str(digest), links)) for digest in asked}

    def descendants(self, roots: Iterable[Digest]) -> set[Digest]:
        """The roots and everything reachable from them, present or not."""
        among = set(roots)
        return among | self._digests(reach.BELOW, among)

    def ancestors(self, digests: Iterable[Digest]) -> set[Digest]:
        """The digests and everything that they are reachable from."""
        among = set(digests)
        return among | self._digests(reach.ABOVE, among)

    def needing(self, digests: Iterable[Digest]) -> set[Digest]:
        """The manifests of which one of these is the config or a layer."""
        return self._digests(_NEEDING, digests)

    def rooted(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these are, or are reachable from, an image's target or a blob of a lease that has not expired."""
        among = set(digests)
        found = self.used(among)
        found |= self._digests(reach.WANTED, among - found)
        return found | self._digests(reach.KEPT_BY_LEASES, among - found)

    def used(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these are present and reachable from an image's target."""
        self._upkeep.flush()
        return self._digests(reach.USED, digests)

    def unused(self) -> set[Digest]:
        """Every blob that no target reaches: it is removable unless a lease keeps it."""
        self._upkeep.flush()
        return {to_digest(digest) for digest in self._connection.scalars(reach.UNUSED)}

    def unrooted(self) -> set[Digest]:
        """Every blob that is not rooted, found by following all edges."""
        return {to_digest(digest) for digest in self._connection.scalars(reach.UNROOTED)}

    def remove(self, digests: Iterable[Digest]) -> None:
        """Remove these blobs: blob, layer, layer_files, source and manifest rows and the edges out of them.

        The row of a manifest that needs one of them is removed too, while its blob stays: no manifest row is ever incomplete. Raises
        Internal if an image's target would be removed.
        """
        removed = self.blob_sizes(digests)
        if not removed:
            return
        self._upkeep.flush()  # a manifest that has just lost its last name is no target any more
        unmade = removed.keys() | self._digests(_NEEDING, removed)
        self._upkeep.resize({digest: -size for digest, size in removed.items()})
        self._upkeep.extend(unmade, limited=False)
        for column in (edge.c.parent, config.c.manifest, manifest.c.digest):
            self._delete(column, unmade)
        doom_blobs(self._connection, removed)
        for column in (layer.c.digest, layer_files.c.digest, source.c.digest, blob.c.digest):
            self._delete(column, removed)
        self._new -= removed.keys()

    def _rows(self, query: Executable, digests: Iterable[Digest | str]) -> list[Row[*tuple[Any, ...]]]:
        return [row for chunk in in_chunks(digests) for row in self._connection.execute(query, {"digests": chunk})]

    def _digests(self, query: Executable, digests: Iterable[Digest]) -> set[Digest]:
        return {to_digest(text) for (text,) in self._rows(query, digests)}

    def _delete(self, column: Column[str], digests: Iterable[Digest]) -> None:
        for chunk in in_chunks(digests):
            self._connection.execute(delete(column.table).where(column.in_(chunk)))

    def _recorded(self, digests: Collection[Digest]) -> tuple[set[Digest], set[Digest]]:
        """Which of these have a manifest row, and which have a blob row."""
        rows = [(to_digest(digest), manifest) for digest, manifest in self._rows(_RECORDED, digests)]
        return {digest for digest, manifest in rows if manifest}, {digest for digest, _ in rows}

    def _insert_manifests(self, manifests: Sequence[tuple[ManifestDocument, bytes | None]]) -> None:
        self._connection.execute(insert(manifest), [manifest_row(document) for document, _ in manifests])
        if edges := [row for document, _ in manifests for row in edge_rows(document.digest, document.edges)]:
            self._connection.execute(insert(edge), edges)
        if configs := [{"manifest": str(document.digest), "raw": raw} for document, raw in manifests if raw is not None]:
            self._connection.execute(insert(config), configs)

    def _unknown_referrers(self, subject: Digest, referrers: Iterable[Descriptor]) -> list[Descriptor]:
        """Those that are not kept with this manifest yet."""
        known = {referrer.digest for referrer in self.referrers(subject)}
        return [referrer for referrer in referrers if referrer.digest not in known]

    def _insert_referrers(self, subject: Digest, referrers: Sequence[Descriptor]) -> None:
        if referrers:
            last = self._connection.scalar(_LAST_EDGE, {"subject": str(subject)})
            edges = [Edge(Role.REFERRER, referrer) for referrer in referrers]
            self._connection.execute(insert(edge), edge_rows(subject, edges, first=0 if last is None else last + 1))


def _require_children(documents: Iterable[ManifestDocument], present: AbstractSet[Digest]) -> None:
    """Refuse a manifest that lost a blob, swept because its writer held no living lease."""
    for document in documents:
        needed = {each.child.digest for each in document.needed}
        for digest in sorted(needed - present):
            raise BlobNotFound(f"missing blob {digest} of manifest {document.digest}")
