"""Contracts of the metadata store: rows, and the transactions that read and write them.

A write transaction is serialised against every other one and durable when its context ends; an exception inside rolls
all of it back. A read transaction sees one state.

    image      name -> target descriptor: what `docker images` lists; an untagged image is named moby-dangling@<digest>
    blob       a digest whose file was whole and on disk when it was written; marked if it was found damaged since
    layer      facts of a compressed blob: digest and size of its uncompressed stream
    manifest   facts of an index, image manifest or artifact manifest, written when everything it needs is present
    edge       manifest -> child; a child without a blob row is absent (another platform of an index, a foreign layer)
    target     each target of an image, with what lists show of it: derived from the rows above
    source     a repository of a registry that is known to hold a blob; removed with the blob
    event      what happened to an image, in the order of commits; the oldest are dropped
    layer_files  what is in a layer, as it was read at the first look; removed with the blob, and the oldest beyond a limit
    lease      keeps its blobs, and all that is reachable from them, from the sweep until it ends or expires
    intent, doomed  objects of a bucket that are being written, and that are to be removed: see objects_protocol.py
    store      one row: the id of the store, created with its tables and also kept in the content store; whether a folder has it; the
               number of targets, and when the last sweep ended

Invariants: an image's target has a manifest row; a manifest row has its blob row, and every child that is not a manifest, a referrer or
a foreign layer has a blob row; a blob row has its file, as long as only the engine changes files. Other changes are found by verify and by
readers of the file, and marked. Readers of rows ignore the mark; to writers a marked blob is absent.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Protocol

from stowage.services.metadata.events_protocol import Events
from stowage.services.metadata.layer_files_protocol import LayerFiles
from stowage.services.metadata.leases_protocol import Leases
from stowage.services.metadata.objects_protocol import Objects
from stowage.services.metadata.records import (
    ImageRecord,
    LayerFacts,
    ManifestDocument,
    ManifestFacts,
    RowCounts,
    State,
)
from stowage.services.metadata.targets_protocol import Targets
from stowage.services.metadata.usage_protocol import Usage
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest


class Images(Protocol):
    """Names. Lists are ordered by name."""

    def get(self, name: str) -> ImageRecord | None: ...

    def named(self, names: Collection[str]) -> dict[str, ImageRecord]:
        """The records of those of these names that exist."""

    def by_target(self, target: Digest, *, repository: str = "", most: int | None = None) -> list[ImageRecord]:
        """The first `most` records of a target; only those of one repository if its canonical `domain/path` is given."""

    def by_id_prefix(self, prefix: str) -> list[ImageRecord]:
        """The first record of each target `sha256:<prefix>...`, of two targets at most; the prefix is 4 to 64 lower-case hex digits."""

    def in_repository(self, repository: str) -> list[ImageRecord]:
        """Records named `repository:tag`, for a canonical `domain/path`."""

    def state(self, wanted: str | Digest) -> State:
        """The state of the image of this name or target."""

    def put(self, name: str, target: Descriptor, now: int) -> None:
        """Give the name this target; `updated_at` changes only if its digest does. Raises Internal for a target without a manifest row."""

    def delete(self, names: Iterable[str]) -> None:
        """Delete those of these names that exist."""

    def count(self) -> int:
        """How many distinct targets there are."""


class Graph(Protocol):
    """Blobs, layers, manifests and edges."""

    def present(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these have a blob row, marked or not."""

    def blob_sizes(self, digests: Iterable[Digest]) -> dict[Digest, int]: ...

    def unmarked(self, digests: Iterable[Digest]) -> dict[Digest, int]:
        """Which of these have a blob row that is not marked as damaged, with their sizes; see services/gc/damage.py."""

    def damages(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """Which of these are marked as damaged, and what was found wrong with them."""

    def mark(self, digest: Digest, damage: str | None, location: str = "") -> None:
        """Mark a blob as damaged, in the words of the finding, or remove the mark, unless it has no row or another location."""

    def add_blob(self, digest: Digest, size: int, now: int, location: str = "") -> None:
        """Record a blob whose file is committed; if it is already recorded, only remove its mark and correct its size.

        The location of an object consumes its intent and dooms the one before; raises Internal without one: its lease has ended.
        """

    def add_blobs(self, sizes: Mapping[Digest, int], now: int, locations: Mapping[Digest, str] = ...) -> None:
        """The same for several, recorded one nanosecond apart to keep their order."""

    def add_layer(self, digest: Digest, facts: LayerFacts) -> None: ...

    def add_layers(self, facts: Mapping[Digest, LayerFacts]) -> None: ...

    def layers(self, digests: Iterable[Digest]) -> dict[Digest, LayerFacts]: ...

    def by_diff_id(self, diff_ids: Iterable[Digest]) -> dict[Digest, Digest]:
        """diff_id -> digest of an unmarked compressed blob with that uncompressed stream (the blob recorded first)."""

    def by_prefix(self, prefix: str) -> list[Digest]:
        """The blobs whose digests begin with `algorithm:digits`, or else a layer for each diff_id that does; two at most."""

    def add_manifest(self, document: ManifestDocument, config: bytes | None) -> None:
        """Record a manifest, its edges and (of an image) its raw config; recording it again changes nothing.

        `content_size` is counted here, for it and every ancestor. Raises BlobNotFound if a child that must be
        present is not (a sweep removed it from a writer whose lease had ended).
        """

    def add_manifests(self, manifests: Iterable[tuple[ManifestDocument, bytes | None]]) -> bool:
        """The same for several, whose ancestors are counted once: an index that lists thousands of them would be counted for each.

        Returns whether this made levels of manifests: see `nesting`.
        """

    def add_referrers(self, referrers: Mapping[Digest, Iterable[Descriptor]]) -> None:
        """Per recorded manifest, keep what refers to it as long as the manifest exists; what is already kept changes nothing."""

    def referrers(self, subject: Digest) -> list[Descriptor]:
        """What is kept with a manifest because it refers to it, oldest first; not among the edges of the manifest's facts."""

    def manifest(self, digest: Digest) -> ManifestFacts | None: ...

    def manifests(self, digests: Iterable[Digest]) -> dict[Digest, ManifestFacts]: ...

    def listed(self, targets: Iterable[Digest]) -> dict[Digest, ManifestFacts]:
        """These targets and every present manifest and index that they list. Only the facts of an index have their edges."""

    def config(self, manifest: Digest) -> bytes | None:
        """The raw image config of an image manifest."""

    def weights_below(self, digests: Iterable[Digest]) -> dict[Digest, dict[Hashable, int]]:
        """How many digests and links each of these reaches, itself included, in groups; what several of them reach has one key."""

    def nesting(self, digests: Collection[Digest], *, most: int) -> int:
        """How many levels of manifests are above and below these, by the highest and the lowest; not counted far beyond `most`.

        A level is a link of any kind from one manifest to another: what an index lists, what refers to an image, the layer of an artifact.
        A circle has levels without end.
        """

    def descendants(self, roots: Iterable[Digest]) -> set[Digest]:
        """The roots and everything reachable from them, present or not."""

    def ancestors(self, digests: Iterable[Digest]) -> set[Digest]:
        """The digests and everything that they are reachable from."""

    def needing(self, digests: Iterable[Digest]) -> set[Digest]:
        """The manifests of which one of these is the config or a layer."""

    def rooted(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these are, or are reachable from, an image's target or a blob of a lease that has not expired."""

    def used(self, digests: Iterable[Digest]) -> set[Digest]:
        """Which of these are present and reachable from an image's target."""

    def unused(self) -> set[Digest]:
        """Every blob that no target reaches: it is removable unless a lease keeps it. Costs nothing for those that are used."""

    def unrooted(self) -> set[Digest]:
        """Every blob that is not rooted, found by following all edges."""

    def remove(self, digests: Iterable[Digest]) -> None:
        """Remove these blobs: blob, layer, layer_files, source and manifest rows and the edges out of them; updates ancestors'
        `content_size`.

        The row of a manifest that needs one of them is removed too, while its blob stays: no manifest row is ever incomplete. Raises
        Internal if an image's target would be removed.
        """

    def all_blobs(self) -> dict[Digest, int]:
        """Every blob row and its size, for verify."""

    def all_manifests(self) -> set[Digest]:
        """Every manifest row, for verify."""


class Sources(Protocol):
    """Which repositories hold a blob, as pulls and pushes have found; a registry is the `host[:port]` of a reference."""

    def add(self, digests: Iterable[Digest], *, registry: str, repository: str) -> None:
        """Record the repository for those of the blobs that are present; recording it again changes nothing."""

    def repositories(self, digests: Iterable[Digest], *, registry: str) -> dict[Digest, list[str]]:
        """The known repositories of this registry, ordered by name, per blob that has any."""

    def names(self, digests: Iterable[Digest]) -> dict[Digest, list[str]]:
        """The full names, `registry/repository`, at every registry, ordered by registry and repository, per blob that has any."""


class Transaction(Protocol):
    """One transaction; the tables are valid until its context ends."""

    @property
    def images(self) -> Images: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def leases(self) -> Leases: ...

    @property
    def sources(self) -> Sources: ...

    @property
    def events(self) -> Events: ...

    @property
    def targets(self) -> Targets: ...

    @property
    def layer_files(self) -> LayerFiles: ...

    @property
    def usage(self) -> Usage: ...

    @property
    def objects(self) -> Objects: ...


class MetadataStore(Protocol):
    """Opens transactions. Raises Internal or OutOfSpace if the database fails, and Unavailable if it is unreachable or busy, or if it
    is not known whether a change was made: then nothing that the change may need may be removed.
    """

    def read(self) -> AbstractContextManager[Transaction]: ...

    def write(self) -> AbstractContextManager[Transaction]: ...

    def version(self) -> object | None:
        """The same object as before only if no process has committed anything since then, found out without a query; None if it cannot be.

        What is read after a version is at least as new as it.
        """

    def state(self, wanted: str | Digest) -> State:
        """The state of the image of this name or target, read in one query."""

    def clock(self) -> int:
        """Nanoseconds since 1970 by the clock that all nodes share: that of PostgreSQL, or with SQLite that of the machine."""

    def locations(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """`Objects.locations`, without a transaction."""

    def doomed(self, *, age: int, limit: int) -> list[tuple[str, int]]:
        """`Objects.doomed`, without a transaction."""

    def store_id(self) -> str:
        """The id of this store: 32 hexadecimal characters, random, the same for its whole lifetime and in every copy."""

    def is_claimed(self) -> bool:
        """Whether a content folder or bucket is known to have the id."""

    def note_claim(self) -> bool:
        """Note that one has the id; returns whether none was known before."""

    def forget_claim(self) -> None:
        """Note that none has the id."""

    def size(self) -> int:
        """Bytes of the database itself on its disk."""

    def counts(self) -> RowCounts:
        """How much there is, counted in the database."""

    def note_sweep(self) -> None:
        """Note that a sweep has ended now, by the database's clock."""

    def check(self) -> None:
        """Raise what a transaction would raise now. Reads a row, and takes no lock that a writer waits for."""

    def problems(self) -> list[str]:
        """A sentence for each thing that is damaged in the database itself, or whose recorded size does not match its rows."""

    def recount(self) -> None:
        """Derive again what is derived from other rows, in short transactions, and mend what differs."""

    def close(self) -> None:
        """Close this process's idle connections; the next transaction opens new ones."""
