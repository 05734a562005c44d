"""The bytes that deleting images would free; content that only these images share counts too."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound, InvalidParameter
from stowage.services.metadata.records import Selection
from stowage.services.metadata.store import Transaction
from stowage.services.oci.digest import Digest
from stowage.services.store.resolve import resolve_image

MOST_IMAGES = 1000
"""How many images one question may be about."""


@dataclass(frozen=True, slots=True)
class Freed:
    """The bytes that deleting these images, with all their names, frees. `kept` bytes are in other images too, `leased` ones kept by an
    operation that is running, or was interrupted and may continue. `gone` images do not exist any more.
    """

    images: tuple[Digest, ...]
    bytes: int
    kept: int
    leased: int
    gone: int = 0


@dataclass(slots=True)
class Count:
    """Adds image by image what deleting all of them frees.

    `holdings` has the blobs of each image that was read, with their bytes, `users` how many images use each of these blobs, and `leased`
    those that an operation keeps. At most so many images are added; users beyond these are not counted.
    """

    most: int = MOST_IMAGES
    holdings: dict[Digest, Mapping[Digest, int]] = field(default_factory=dict)
    users: dict[Digest, int] = field(default_factory=dict)
    leased: set[Digest] = field(default_factory=set)
    found: Counter[Digest] = field(default_factory=Counter)
    freed: int = 0

    def read(self, tx: Transaction, images: Iterable[Digest]) -> None:
        """Read what these images have, so that they can be added."""
        holdings = tx.usage.holdings(images)
        blobs = {digest for holding in holdings.values() for digest in holding} - self.users.keys()
        self.holdings |= holdings
        self.users |= tx.usage.users(blobs, most=self.most + 1)
        self.leased |= tx.usage.leased(blobs)

    def add(self, image: Digest) -> None:
        for blob, size in self.holdings[image].items():
            self.found[blob] += 1
            if self._is_freed(blob):
                self.freed += size

    def freed_by(self, image: Digest) -> int:
        """How much less would be freed without this image, which was added."""
        return sum(size for blob, size in self.holdings[image].items() if self._is_freed(blob))

    def remove(self, image: Digest) -> None:
        self.freed -= self.freed_by(image)
        self.found.subtract(self.holdings[image].keys())

    def clear(self) -> None:
        """Remove all images that were added."""
        self.found.clear()
        self.freed = 0

    def result(self, images: Iterable[Digest]) -> Freed:
        """What deleting these images frees, which were added, and no others."""
        chosen = tuple(images)
        sizes = {blob: size for image in chosen for blob, size in self.holdings[image].items()}
        leased = sum(size for blob, size in sizes.items() if blob in self.leased and self.found[blob] == self.users[blob])
        return Freed(chosen, self.freed, sum(sizes.values()) - self.freed - leased, leased)

    def _is_freed(self, blob: Digest) -> bool:
        return self.found[blob] == self.users[blob] and blob not in self.leased


def count_freed(engine: Engine, names: Sequence[str], *, present_only: bool = False) -> Freed:
    """What deleting the images that these names or IDs mean frees; with `present_only`, of those that there are.

    Raises InvalidParameter for too many, InvalidReference and ImageNotFound.
    """
    if len(names) > MOST_IMAGES:
        raise InvalidParameter(f"at most {MOST_IMAGES} images can be counted at once")
    with engine.metadata.read() as tx:
        images: dict[Digest, None] = {}
        gone = 0
        for name in dict.fromkeys(names):
            try:
                images[resolve_image(tx, name).target.digest] = None
            except ImageNotFound:
                if not present_only:
                    raise
                gone += 1
        return replace(_count(tx, images), gone=gone)


def count_dangling(engine: Engine) -> Freed:
    """What deleting the images without a name frees, of at most `MOST_IMAGES`."""
    with engine.metadata.read() as tx:
        ids = tx.targets.find(Selection(dangling=True), limit=MOST_IMAGES)
        return _count(tx, [target.digest for target in tx.targets.read(ids)])


def _count(tx: Transaction, images: Collection[Digest]) -> Freed:
    count = Count(len(images))
    count.read(tx, images)
    for image in images:
        count.add(image)
    return count.result(images)
