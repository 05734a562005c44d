"""The layers of an image: the step that made each, its size, and the other images that have it.

Also finds an image or a layer by a text that a user has copied: an ID, a digest, or the beginning of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, InvalidReference, NotFound
from stowage.services.metadata.records import ManifestDocument, Role
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.summary import any_platform, platform_not_found, read_manifests, summarize
from stowage.services.oci.config import History, ImageConfig
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform, PlatformMatcher
from stowage.services.store.resolve import familiar_name, is_dangling, resolve_image

_NAMED = 3
"""How many of the other images that have a layer are named beside it."""

_DIGEST = re.compile(r"(?:([a-z0-9]{1,20}):)?([a-f0-9]{8,128})")
"""With fewer digits, a blob is easily found by chance."""


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image, by its digest and its first name, which is empty if it has none, and how many more names it has."""

    digest: Digest
    name: str
    more_names: int


@dataclass(frozen=True, slots=True)
class ImageLayer:
    """A layer. `size` is its stored bytes, `unpacked` those of its uncompressed stream (0 if it is unknown), `users` how many images have
    it, of which `others` names a few. It is not `present` if it is a foreign one. `step` made it, if the history says so.
    """

    digest: Digest
    media_type: str
    diff_id: Digest | None
    size: int
    unpacked: int
    present: bool
    users: int
    others: tuple[NamedImage, ...]
    step: History | None


@dataclass(frozen=True, slots=True)
class LayerUsers:
    """The images that have a blob: how many, and a part of them, ordered by name."""

    digest: Digest
    size: int
    unpacked: int
    users: int
    images: tuple[NamedImage, ...]


def read_layers(engine: Engine, name: str, *, platform: Platform | None = None) -> list[ImageLayer]:
    """The layers of an image's manifest for a platform, the lowest first, none if it is absent; without a platform, of the preferred
    manifest that is present, which may be an artifact.

    Raises InvalidReference, ImageNotFound, and NotFound for an image without the platform.
    """
    with engine.metadata.read() as tx:
        record = resolve_image(tx, name)
        image = summarize(record, read_manifests(tx, record.target.digest))
        best = image.best(PlatformMatcher.only_strict(platform)) if platform else image.best_present(any_platform(engine.platform))
        if best is None and platform is not None:
            raise platform_not_found(familiar_name(record), platform)
        facts = best.facts if best else None
        raw = tx.graph.config(facts.digest) if facts else None
        return list(_read(tx, facts, ImageConfig.parse(raw) if raw else None, record.target.digest)) if facts else []


def read_layer_users(engine: Engine, digest: Digest, *, start: int, count: int) -> LayerUsers:
    """Which images have this blob, `count` of them from `start` on, if there are so many. Raises BlobNotFound."""
    with engine.metadata.read() as tx:
        size = tx.graph.blob_sizes([digest]).get(digest)
        if size is None:
            raise BlobNotFound(f"there is no blob {digest}")
        layer = tx.graph.layers([digest]).get(digest)
        users = tx.usage.users([digest])[digest]
        images = tuple(_name(tx, tx.usage.users_of(digest, limit=count, offset=start))) if start < users else ()
    return LayerUsers(digest, size, layer.size if layer else 0, users, images)


def is_image(engine: Engine, text: str) -> bool:
    """Whether exactly one image is meant by this name, ID or beginning of an ID."""
    with engine.metadata.read() as tx, suppress(InvalidReference, NotFound):
        resolve_image(tx, text)
        return True
    return False


def find_blob(engine: Engine, text: str) -> Digest | None:
    """The blob with this digest, or the layer with this diff_id. The beginning is enough if it fits only one; `sha256:` may be left out."""
    match = _DIGEST.fullmatch(text.lower())
    if match is None:
        return None
    with engine.metadata.read() as tx:
        found = tx.graph.by_prefix(f"{match[1] or 'sha256'}:{match[2]}")
    return found[0] if len(found) == 1 else None


def _read(tx: Transaction, manifest: ManifestDocument, config: ImageConfig | None, target: Digest) -> Iterator[ImageLayer]:
    listed = [edge.child for edge in manifest.edges if edge.role is Role.LAYER]
    digests = [layer.digest for layer in listed]
    facts, sizes, users = tx.graph.layers(digests), tx.graph.blob_sizes(digests), tx.usage.users(digests)
    steps = [step for step in config.history if not step.empty_layer] if config else []
    diff_ids: Sequence[Digest] = (config.diff_ids or ()) if config else ()
    for position, layer in enumerate(listed):
        digest, known = layer.digest, facts.get(layer.digest)
        shared = tx.usage.some_users(digest, _NAMED + 1) if users.get(digest, 0) > 1 else []
        yield ImageLayer(
            digest=digest,
            media_type=layer.media_type,
            diff_id=known.diff_id if known else diff_ids[position] if position < len(diff_ids) else None,
            size=sizes.get(digest, layer.size),
            unpacked=known.size if known else 0,
            present=digest in sizes,
            users=users.get(digest, 0),
            others=tuple(other for other in _name(tx, shared) if other.digest != target)[:_NAMED],
            step=steps[position] if position < len(steps) else None,
        )


def _name(tx: Transaction, ids: Sequence[int]) -> Iterator[NamedImage]:
    for target in tx.targets.read(ids):
        named = [record for record in target.records if not is_dangling(record)]
        yield NamedImage(target.digest, familiar_name(named[0]) if named else "", max(len(named) - 1, 0))
