"""The images of the store for people: a page of the list, in the order that they choose."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound, InvalidReference
from stowage.services.filters import Filters
from stowage.services.images.list import ListedImage, find_images, read_images
from stowage.services.metadata.records import Order, Selection
from stowage.services.metadata.summary import ManifestKind, any_platform
from stowage.services.oci.platform import Platform, best_match
from stowage.services.oci.reference import Reference
from stowage.services.store.image_filters import ImageFilter
from stowage.services.store.resolve import resolve_image

_ANY = ImageFilter(Selection())


@dataclass(frozen=True, slots=True)
class ImagePage:
    """A part of a list: how many images there are in all, and those from `start` on."""

    total: int
    start: int
    images: tuple[ListedImage, ...]


def browse_images(engine: Engine, *, filters: Filters, part: str = "", order: Order, start: int, count: int) -> ImagePage:
    """At most `count` of the images that pass, with their manifests, their shared bytes, and where they come from. Raises as `list_images`.

    With a `part` they have a name that contains it, which no filter of Docker's finds: the `*` of a pattern stops at each `/`. Beyond the
    end it is the last page.
    """
    image_filter, ids = find_images(engine, filters, order, part=part)
    start = max(0, min(start, (len(ids) - 1) // count * count))
    shown = ids[start : start + count]
    images = read_images(engine, image_filter, shown, shared_size=True, manifests=True, identity=True)
    return ImagePage(len(ids), start, tuple(images))


def browse_siblings(engine: Engine, name: str, count: int) -> tuple[ListedImage, ...]:
    """The newest other images with a name in the same repository as this one. Raises as `find_image` does."""
    image = find_image(engine, name)
    if not image.repo_tags:
        return ()
    filters = Filters().adding("reference", _repository_of(image, name))
    found = browse_images(engine, filters=filters, order=Order(), start=0, count=count + 1)
    return tuple(each for each in found.images if each.id != image.id)[:count]


def find_previous(engine: Engine, name: str) -> ListedImage | None:
    """The newest image with a name in the same repository that was created before this one. Raises as `find_image` does."""
    image = find_image(engine, name)
    if not image.repo_tags or not image.created:
        return None
    filters = Filters().adding("reference", _repository_of(image, name)).adding("before", str(image.id))
    return next(iter(browse_images(engine, filters=filters, order=Order(), start=0, count=1).images), None)


def find_image(engine: Engine, name: str) -> ListedImage:
    """The entry of the image with this name or ID, as a page has it. Raises InvalidReference and ImageNotFound."""
    with engine.metadata.read() as tx:
        target = resolve_image(tx, name).target.digest
        ids = tx.targets.find(Selection(among={str(target)}))
    for image in read_images(engine, _ANY, ids, shared_size=True, manifests=True, identity=True):
        return image
    raise ImageNotFound(name)  # it was deleted meanwhile


def stored_platform(engine: Engine, image: ListedImage) -> Platform | None:
    """The preferred platform of which the manifest is stored, if the one that lists show is not; otherwise None."""
    images = [(manifest, manifest.platform) for manifest in image.manifests if manifest.kind is ManifestKind.IMAGE]
    matcher = any_platform(engine.platform)
    best = best_match(images, matcher)
    if best is None or best.available:
        return None
    present = best_match([each for each in images if each[0].available], matcher)
    return present.platform if present else None


def name_of(image: ListedImage, asked: str) -> str:
    """The name by which this image was asked for, else its first one, or its ID if it has none."""
    with suppress(InvalidReference):
        name = Reference.parse(asked).tagged().familiar
        if name in image.repo_tags:
            return name
    return image.repo_tags[0] if image.repo_tags else str(image.id)


def _repository_of(image: ListedImage, asked: str) -> str:
    name = name_of(image, asked)
    return name.rpartition(":")[0] or name
