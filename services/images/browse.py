"""The images of the store for people: a page of the list, in the order that they choose."""

from __future__ import annotations

from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound
from stowage.services.filters import Filters
from stowage.services.images.list import ListedImage, find_images, read_images
from stowage.services.metadata.records import Order, Selection
from stowage.services.store.image_filters import ImageFilter
from stowage.services.store.resolve import resolve_image

_ANY = ImageFilter(Selection())


@dataclass(frozen=True, slots=True)
class ImagePage:
    """A part of a list: how many images there are in all, and those from `start` on."""

    total: int
    start: int
    images: tuple[ListedImage, ...]


def browse_images(engine: Engine, *, filters: Filters, order: Order, start: int, count: int) -> ImagePage:
    """At most `count` of the images that pass, with their manifests, their shared bytes, and where they come from. Raises as `list_images`.

    Beyond the end it is the last page.
    """
    image_filter, ids = find_images(engine, filters, order)
    start = max(0, min(start, (len(ids) - 1) // count * count))
    shown = ids[start : start + count]
    images = read_images(engine, image_filter, shown, shared_size=True, manifests=True, identity=True)
    return ImagePage(len(ids), start, tuple(images))


def find_image(engine: Engine, name: str) -> ListedImage:
    """The entry of the image with this name or ID, as a page has it. Raises InvalidReference and ImageNotFound."""
    with engine.metadata.read() as tx:
        target = resolve_image(tx, name).target.digest
        ids = tx.targets.find(Selection(among={str(target)}))
    for image in read_images(engine, _ANY, ids, shared_size=True, manifests=True, identity=True):
        return image
    raise ImageNotFound(name)  # it was deleted meanwhile
