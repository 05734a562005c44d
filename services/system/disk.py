"""Disk usage, with the images that need the bytes.

Each stored byte is counted once: it belongs to one image, to several, to none, to a partial download, or to derived rows and files. So the
parts add up to the size of the store on disk.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.images.list import ListedImage, read_images
from stowage.services.metadata.records import NEWEST, Order, Selection, SortKey, Target
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.usage import Amount, RepositoryUse, UsedBlob
from stowage.services.oci.digest import Digest
from stowage.services.store.image_filters import ImageFilter
from stowage.services.store.resolve import familiar_name, is_dangling

DATABASE, FILE_LISTS = "database", "lists of files"
"""What is derived, or known: names, manifests, facts; and what is in layers, which is in the database too, but counted apart."""

_EXAMPLES = 12
"""How many images with a shared layer are looked at to find one that names it."""

_EVERYTHING = ImageFilter(Selection())


@dataclass(frozen=True, slots=True)
class SharedLayer:
    """A blob that several images have, and the first name of one of the smallest of these, which says best what is in it."""

    digest: Digest
    size: int
    users: int
    name: str


@dataclass(frozen=True, slots=True)
class DiskPicture:
    """The parts, in blobs and bytes.

    `unique` is what exactly one image has, `shared` what several have, each blob counted once. `unneeded` no image has, so that a prune
    removes it. `leased` no image has either, but an operation that is running, or that was interrupted and may go on. `partial` are
    downloads that have not ended. `derived` are bytes beside the blobs, by what they are. `free` may still be written.

    `repositories` are those with the most unique bytes, `layers` the largest blobs that several images have, `largest` the images with the
    most unique bytes; `dangling` are the images without a name.
    """

    images: int
    unique: Amount
    shared: Amount
    unneeded: Amount
    leased: Amount
    partial: Amount
    derived: Mapping[str, int]
    free: int
    dangling: int
    repositories: tuple[RepositoryUse, ...]
    layers: tuple[SharedLayer, ...]
    largest: tuple[ListedImage, ...]

    @property
    def stored(self) -> int:
        """Bytes of all blobs."""
        return self.unique.bytes + self.shared.bytes + self.unneeded.bytes + self.leased.bytes

    @property
    def total(self) -> int:
        """Bytes that the store has on disk."""
        return self.stored + self.partial.bytes + sum(self.derived.values())


def read_disk(engine: Engine, *, most: int) -> DiskPicture:
    """The picture now, with at most this many repositories, layers and images."""
    with engine.metadata.read() as tx:
        amounts = tx.usage.amounts()
        unneeded, leased = _split_unused(tx) if amounts.unused.count else (Amount(), Amount())
        images, dangling = tx.images.count(), len(tx.targets.find(Selection(dangling=True)))
        repositories = tx.usage.repositories(most)
        layers = [_name_layer(tx, blob) for blob in tx.usage.shared_blobs(most)]
        ids = tx.targets.find(Selection(), Order(SortKey.UNIQUE), limit=most)
        lists = tx.layer_files.bytes()
    return DiskPicture(
        images=images,
        unique=amounts.unique,
        shared=amounts.shared,
        unneeded=unneeded,
        leased=leased,
        partial=_amount(size for _, size, _ in engine.content.partials()),
        derived={DATABASE: max(0, engine.metadata.size() - lists), FILE_LISTS: lists},
        free=engine.content.free(),
        dangling=dangling,
        repositories=tuple(repositories),
        layers=tuple(layers),
        largest=tuple(read_listed(engine, ids)),
    )


def list_images_of(engine: Engine, images: Iterable[Digest], order: Order = NEWEST) -> list[ListedImage]:
    """Those of these images that there are, as a list shows them, with their shared bytes."""
    with engine.metadata.read() as tx:
        ids = tx.targets.find(Selection(among={str(image) for image in images}), order)
    return list(read_listed(engine, ids))


def read_listed(engine: Engine, ids: array[int]) -> Iterable[ListedImage]:
    """The images with these ids, with their shared bytes."""
    return read_images(engine, _EVERYTHING, ids, shared_size=True)


def _name_layer(tx: Transaction, blob: UsedBlob) -> SharedLayer:
    users = tx.targets.read(tx.usage.some_users(blob.digest, _EXAMPLES))
    names = [familiar_name(record) for user in sorted(users, key=_size) for record in user.records if not is_dangling(record)]
    return SharedLayer(blob.digest, blob.size, blob.users, names[0] if names else "")


def _size(target: Target) -> int:
    return target.size


def _split_unused(tx: Transaction) -> tuple[Amount, Amount]:
    """What no image has: what nothing needs, and what a lease keeps."""
    unused = tx.graph.unused()
    leased = tx.usage.leased(unused)
    sizes = tx.graph.blob_sizes(unused)
    return _amount(sizes[digest] for digest in unused - leased), _amount(sizes[digest] for digest in leased)


def _amount(sizes: Iterable[int]) -> Amount:
    found = list(sizes)
    return Amount(len(found), sum(found))


def unique_bytes(image: ListedImage) -> int:
    """The bytes that only this image has."""
    return image.size - max(0, image.shared_size)
