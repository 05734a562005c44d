"""Disk usage of images; there are no containers, volumes or build cache.

Source: moby daemon/disk_usage.go.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial

from stowage.services.engine import Engine
from stowage.services.filters import Filters
from stowage.services.images.list import ListedImage, list_images


class ObjectType(StrEnum):
    """A type of objects in a request for disk usage (moby api/types/system/disk_usage.go)."""

    CONTAINER = "container"
    IMAGE = "image"
    VOLUME = "volume"
    BUILD_CACHE = "build-cache"


@dataclass(frozen=True, slots=True)
class DiskUsage:
    """The requested types, the number of images, and the bytes of all their content, each blob counted once.

    `images` begins to read the images with their shared sizes. No container uses an image, so all of it can be reclaimed. Without IMAGE
    among the types there are no images and no bytes.
    """

    types: frozenset[ObjectType]
    images: Callable[[], Iterator[ListedImage]]
    image_count: int = 0
    image_bytes: int = 0


def read_disk_usage(engine: Engine, *, types: Collection[ObjectType] = tuple(ObjectType)) -> DiskUsage:
    """The current disk usage; content that no image reaches yet, such as that of a running pull, is not counted."""
    if ObjectType.IMAGE not in types:
        return DiskUsage(frozenset(types), lambda: iter(()))
    images = partial(list_images, engine, filters=Filters(), shared_size=True)
    with engine.metadata.read() as tx:
        return DiskUsage(frozenset(types), images, tx.images.count(), tx.usage.bytes())
