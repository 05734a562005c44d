"""How much disk space the engine's objects take. Only images take any: there are no containers, volumes or build cache.

Source: moby daemon/disk_usage.go.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from stowage.services.engine import Engine
from stowage.services.filters import Filters
from stowage.services.images.list import ListedImage, list_images


class ObjectType(StrEnum):
    """What disk usage can be requested for (moby api/types/system/disk_usage.go)."""

    CONTAINER = "container"
    IMAGE = "image"
    VOLUME = "volume"
    BUILD_CACHE = "build-cache"


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The requested types, the images with their shared sizes, and the bytes of all content of images, each blob counted once.

    No container uses an image, so all of it can be reclaimed. Without IMAGE among the types there are no images and no bytes.
    """

    types: frozenset[ObjectType]
    images: tuple[ListedImage, ...] = ()
    image_bytes: int = 0


def read_disk_usage(engine: Engine, *, types: Collection[ObjectType] = tuple(ObjectType)) -> DiskUsage:
    """The current disk usage; content that no image reaches yet, such as that of a running pull, is not counted."""
    if ObjectType.IMAGE not in types:
        return DiskUsage(frozenset(types))
    images = tuple(list_images(engine, filters=Filters(), shared_size=True))
    with engine.metadata.read() as tx:
        content = tx.graph.descendants(image.id for image in images)
        total = sum(tx.graph.blob_sizes(content).values())
    return DiskUsage(frozenset(types), images, total)
