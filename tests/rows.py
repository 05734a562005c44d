"""Rows without content: blobs, manifests and indexes by label, for tests of the metadata store alone."""

from __future__ import annotations

from collections.abc import Iterable

from stowage.services.metadata.records import Edge, Kind, LayerFacts, ManifestDocument, Role
from stowage.services.metadata.store import Transaction
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.timestamps import Timestamp

BLOB_BYTES = 10


def digest(label: str) -> Digest:
    return Digest.of(label.encode())


def descriptor(label: str, media_type: str = mediatypes.OCI_MANIFEST, size: int = BLOB_BYTES) -> Descriptor:
    return Descriptor(media_type, digest(label), size)


def add_blobs(tx: Transaction, labels: Iterable[str]) -> None:
    for label in labels:
        tx.graph.add_blob(digest(label), BLOB_BYTES, 1)


def image_facts(label: str, layers: Iterable[str], *, layer_type: str = mediatypes.OCI_LAYER_GZIP) -> ManifestDocument:
    """An image manifest whose config is labelled `<label>.config`."""
    config = Edge(Role.CONFIG, descriptor(f"{label}.config", mediatypes.OCI_CONFIG))
    return ManifestDocument(
        digest(label),
        mediatypes.OCI_MANIFEST,
        Kind.IMAGE,
        platform=Platform("linux", "arm", "v7", "1.2", ("f",)),
        created=Timestamp(1_700_000_000_123_456_789, -330),
        labels={"a": "b"},
        edges=(config, *(Edge(Role.LAYER, descriptor(layer, layer_type)) for layer in layers)),
    )


def add_image(tx: Transaction, label: str, layers: Iterable[str] = (), *, name: str | None = None) -> Digest:
    """A whole image: blobs, layer facts, manifest, config and, if asked, a name."""
    layers = list(layers)
    add_blobs(tx, [label, f"{label}.config", *layers])
    for layer in layers:
        tx.graph.add_layer(digest(layer), LayerFacts(digest(f"{layer}.tar"), 2 * BLOB_BYTES))
    tx.graph.add_manifest(image_facts(label, layers), b"{}")
    if name is not None:
        tx.images.put(name, descriptor(label), 1)
    return digest(label)


def add_index(
    tx: Transaction, label: str, listed: Iterable[str], *, name: str | None = None, listed_type: str = mediatypes.OCI_MANIFEST
) -> Digest:
    """An index of manifests, or of indexes, that may or may not be there."""
    add_blobs(tx, [label])
    edges = tuple(Edge(Role.MANIFEST, descriptor(each, listed_type)) for each in listed)
    tx.graph.add_manifest(ManifestDocument(digest(label), mediatypes.OCI_INDEX, Kind.INDEX, edges=edges), None)
    if name is not None:
        tx.images.put(name, descriptor(label, mediatypes.OCI_INDEX), 1)
    return digest(label)
