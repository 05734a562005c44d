"""The contents of rows, as values: images and their targets, manifests and their edges, layers, events."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum

from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.mediatypes import is_foreign_layer
from stowage.services.oci.platform import Platform
from stowage.services.timestamps import Timestamp


class Kind(StrEnum):
    """The kind of document of a manifest row."""

    INDEX = "index"
    IMAGE = "image"
    ARTIFACT = "artifact"


class Role(StrEnum):
    """The role of a child in its parent."""

    MANIFEST = "manifest"
    CONFIG = "config"
    LAYER = "layer"
    REFERRER = "referrer"
    """Not listed by its parent, but kept with it: a manifest that refers to it, like an attestation. May be absent; see `Graph.referrers`.
    """


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A name and its target. Times are nanoseconds since 1970: when the name was first given, and when its target last changed."""

    name: str
    target: Descriptor
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Edge:
    """A child of a manifest. Edges are in the manifest's order: config first, then layers; or the manifests of an index."""

    role: Role
    child: Descriptor


@dataclass(frozen=True, slots=True, eq=False)
class ManifestDocument:
    """The facts of a manifest and its config, as they are read and recorded."""

    digest: Digest
    media_type: str
    kind: Kind
    platform: Platform | None = None
    created: Timestamp | None = None
    labels: Mapping[str, str] | None = None
    edges: tuple[Edge, ...] = ()

    @property
    def needed(self) -> list[Edge]:
        """The edges to what must be present: all but the manifests of an index and foreign layers."""
        return [edge for edge in self.edges if edge.role in (Role.CONFIG, Role.LAYER) and not is_foreign_layer(edge.child.media_type)]


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """The uncompressed stream of a layer blob: its digest (the diff_id) and its size in bytes."""

    diff_id: Digest
    size: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which targets: those `among` these texts of digests, if given, that meet every other condition that is given.

    A name of it meets `dangling` (is the internal one of an untagged image, or is not) and `stored_before`, in nanoseconds since 1970.
    The manifest that represents it was created between `created_after` and `created_before`, exclusive. It has every hash of
    `labels`, and none of `not_labels` on all its platforms. Hashes do not decide exactly (see labels.py), so a reader checks again.
    """

    among: AbstractSet[str] | None = None
    dangling: bool | None = None
    stored_before: int | None = None
    created_after: int | None = None
    created_before: int | None = None
    labels: tuple[int, ...] = ()
    not_labels: tuple[int, ...] = ()


class SortKey(StrEnum):
    """The order of a list of targets; `UNIQUE` is the bytes that no other target reaches."""

    CREATED = "created"
    NAME = "name"
    SIZE = "size"
    UNIQUE = "unique"


@dataclass(frozen=True, slots=True)
class Order:
    """The order of a list. Equal targets are ordered by their first name; untagged ones come last, or first, by name."""

    key: SortKey = SortKey.CREATED
    descending: bool = True


NEWEST = Order()
"""As Docker lists images."""


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Target:
    """An image as a list shows it: its records, ordered by name, and the facts of the manifest that describes it, if it `is_known`.

    `created` is in seconds since 1970, 0 if unknown. `size` is the bytes of its present content. `labels` is the JSON of the labels, None
    without a present manifest, or without any.
    """

    id: int
    records: tuple[ImageRecord, ...]
    is_known: bool
    created: int
    size: int
    labels: str | None

    @property
    def digest(self) -> Digest:
        return self.records[0].target.digest


@dataclass(frozen=True, slots=True)
class Actor:
    """The subject of an event: its ID, or the name that a client used, and its other attributes."""

    id: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Event:
    """An event: an `action` on an `actor` of this `type`. `id` is the order of commits, `time` nanoseconds since 1970."""

    id: int
    time: int
    type: str
    action: str
    actor: Actor


@dataclass(frozen=True, slots=True)
class RowCounts:
    """How many images (targets) and blobs there are, the blobs' size in bytes, the leases by state, and when the last sweep ended.

    A lease is `running` while its holder renews it, `kept` when that has ended, and `expired` until the next sweep.
    """

    images: int
    blobs: int
    bytes: int
    leases: Mapping[str, int]
    swept_at: int | None = None
