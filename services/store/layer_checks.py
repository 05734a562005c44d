"""Check that the layers of an image are what its config says, by comparing the diff_ids with the facts derived when each layer
was stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet

from stowage.services.archive.layer import begins_stream
from stowage.services.content.protocol import ContentStore
from stowage.services.errors import InvalidContent
from stowage.services.metadata.graph import Graph
from stowage.services.metadata.records import LayerFacts
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.manifest import Manifest

_HEAD_BYTES = 512
_MISMATCHED = "mismatched image rootfs and manifest layers"


def check_layers(
    graph: Graph, content: ContentStore, manifest: Manifest, present: AbstractSet[Digest], diff_ids: Sequence[Digest], *, tolerant: bool
) -> str:
    """Compare what each tar layer unpacks to with what the config says (its diff_ids); layers of other kinds are not readable here.

    A foreign layer need not be among the `present` blobs.

    A tolerant caller accepts layers that are not a stream. Returns why an image that is accepted all the same cannot be unpacked;
    raises InvalidContent for what is not accepted.
    """
    layers = manifest.layers
    if not all(mediatypes.is_layer(layer.media_type) for layer in layers):
        return ""
    facts = graph.layers([layer.digest for layer in layers])
    tars = {layer for layer in layers if layer.digest in present and mediatypes.is_tar_layer(layer.media_type)}
    meaningless = {layer.digest for layer in tars if tolerant and _is_meaningless(content, layer, facts.get(layer.digest))}
    if len(diff_ids) != len(layers):
        if not tolerant or any(layer.digest not in meaningless for layer in layers):
            raise InvalidContent(_MISMATCHED)
        return _MISMATCHED
    problem = ""
    for layer, diff_id in zip(layers, diff_ids, strict=True):
        known = facts.get(layer.digest)
        if layer not in tars or (known and known.diff_id == diff_id):
            continue
        if layer.digest not in meaningless:
            raise _wrong_layer(layer, diff_id, known)
        problem = problem or f"failed to extract layer {diff_id}: not a readable {layer.media_type} stream"
    return problem


def _is_meaningless(content: ContentStore, layer: Descriptor, known: LayerFacts | None) -> bool:
    """Whether there is nothing to check: no bytes, or bytes that begin like neither a tar nor a compressed stream."""
    if known is not None:
        return layer.size == 0
    with content.open(layer.digest) as blob:
        return not begins_stream(blob.read(_HEAD_BYTES))


def _wrong_layer(layer: Descriptor, diff_id: Digest, known: LayerFacts | None) -> InvalidContent:
    if known is None:
        return InvalidContent(f"layer {layer.digest} is not a readable {layer.media_type} stream")
    return InvalidContent(f'wrong diff id calculated on extraction "{known.diff_id}", expected "{diff_id}"')
