"""What a deletion of images would free, exactly: what is shared among them counts if nobody else has it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from stowage.services.engine import Engine
from stowage.services.errors import InvalidParameter
from stowage.services.images.list import ListedImage
from stowage.services.metadata.protocol import Transaction
from stowage.services.metadata.records import Order, Selection, SortKey
from stowage.services.oci.digest import Digest
from stowage.services.store.resolve import resolve_image
from stowage.services.system.disk import read_listed

MOST_IMAGES = 1000
"""How many images one question may be about."""

_LEAST_WANTED, _USUALLY_WANTED = 1_000_000, 1_000_000_000
_CANDIDATES = 300
"""How many images a suggestion is chosen from."""


class Strategy(StrEnum):
    """What a suggestion deletes first."""

    LARGEST = "largest"
    OLDEST = "oldest"
    UNTAGGED = "untagged"


_ORDERS = {
    Strategy.LARGEST: (Selection(), Order(SortKey.UNIQUE)),
    Strategy.OLDEST: (Selection(), Order(SortKey.CREATED, descending=False)),
    Strategy.UNTAGGED: (Selection(dangling=True), Order(SortKey.UNIQUE)),
}


@dataclass(frozen=True, slots=True)
class Freed:
    """What deleting these images, with all their names, frees. `kept` is the bytes of theirs that other images have, `leased` of those
    that an operation keeps, which is running or was interrupted and may go on.
    """

    images: tuple[Digest, ...]
    bytes: int
    kept: int
    leased: int


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Images to choose from, those that are suggested, and what these free; that may be less than was wanted."""

    candidates: tuple[ListedImage, ...]
    selected: frozenset[Digest]
    freed: Freed


@dataclass(slots=True)
class _Count:
    """Adds image by image what deleting all of them frees."""

    users: Mapping[Digest, int]
    leased: frozenset[Digest] | set[Digest]
    found: Counter[Digest] = field(default_factory=Counter)
    sizes: dict[Digest, int] = field(default_factory=dict)
    freed: int = 0

    def add(self, holding: Mapping[Digest, int]) -> None:
        for digest, size in holding.items():
            self.found[digest] += 1
            self.sizes[digest] = size
            if self.found[digest] == self.users[digest] and digest not in self.leased:
                self.freed += size

    def freed_by(self, holding: Mapping[Digest, int]) -> int:
        """How much less would be freed without an image that was added."""
        last = (digest for digest in holding if self.found[digest] == self.users[digest] and digest not in self.leased)
        return sum(holding[digest] for digest in last)

    def remove(self, holding: Mapping[Digest, int]) -> None:
        self.freed -= self.freed_by(holding)
        for digest in holding:
            self.found[digest] -= 1
            if not self.found[digest]:
                del self.sizes[digest]

    def result(self, images: Iterable[Digest]) -> Freed:
        leased = sum(size for digest, size in self.sizes.items() if digest in self.leased and self.found[digest] == self.users[digest])
        return Freed(tuple(images), self.freed, sum(self.sizes.values()) - self.freed - leased, leased)


def count_freed(engine: Engine, names: Sequence[str]) -> Freed:
    """What deleting the images that these names or IDs mean frees.

    Raises InvalidParameter for too many, InvalidReference and ImageNotFound.
    """
    if len(names) > MOST_IMAGES:
        raise InvalidParameter(f"at most {MOST_IMAGES} images can be counted at once")
    with engine.metadata.read() as tx:
        targets = dict.fromkeys(resolve_image(tx, name).target.digest for name in dict.fromkeys(names))
        holdings, count = _read(tx, targets)
    for holding in holdings.values():
        count.add(holding)
    return count.result(targets)


def suggest_deletions(engine: Engine, *, wanted: int, strategy: Strategy) -> Suggestion:
    """Suggest images to delete, the first ones by the strategy that free at least the wanted bytes together, without those that are not
    needed for that.
    """
    selection, order = _ORDERS[strategy]
    with engine.metadata.read() as tx:
        ids = tx.targets.find(selection, order, limit=_CANDIDATES)
        targets = [target.digest for target in tx.targets.read(ids)]
        holdings, count = _read(tx, targets)
    chosen: list[Digest] = []
    for target in targets:
        if count.freed >= wanted:
            break
        count.add(holdings[target])
        chosen.append(target)
    _drop_needless(chosen, holdings, count, min(wanted, count.freed))
    return Suggestion(tuple(read_listed(engine, ids)), frozenset(chosen), count.result(chosen))


def suggest_amount(engine: Engine) -> int:
    """How many bytes to ask for if nobody says: about a quarter of what images have, at most a GB, as 1, 2 or 5 and zeros."""
    with engine.metadata.read() as tx:
        amounts = tx.usage.amounts()
    most = min(max((amounts.unique.bytes + amounts.shared.bytes) // 4, _LEAST_WANTED), _USUALLY_WANTED)
    power = int(10 ** (len(str(most)) - 1))
    return max(digit * power for digit in (1, 2, 5) if digit * power <= most)


def _drop_needless(chosen: list[Digest], holdings: Mapping[Digest, Mapping[Digest, int]], count: _Count, wanted: int) -> None:
    """Remove what a later image, or what it shares with it, has made needless, the last one by the strategy first."""
    for target in chosen[::-1]:
        if count.freed - count.freed_by(holdings[target]) >= wanted:
            count.remove(holdings[target])
            chosen.remove(target)


def _read(tx: Transaction, targets: Iterable[Digest]) -> tuple[dict[Digest, Mapping[Digest, int]], _Count]:
    holdings = tx.usage.holdings(targets)
    blobs = {digest for holding in holdings.values() for digest in holding}
    users = tx.usage.users(blobs)
    return holdings, _Count(users, tx.usage.leased(blobs))
