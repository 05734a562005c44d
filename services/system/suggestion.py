"""Images to delete so that a number of bytes come free: few large ones, the oldest, or those without a name."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from stowage.services.engine import Engine
from stowage.services.images.list import ListedImage
from stowage.services.metadata.records import Order, Selection, SortKey
from stowage.services.metadata.store import Transaction
from stowage.services.oci.digest import Digest
from stowage.services.system.disk import list_images_of
from stowage.services.system.freed import MOST_IMAGES, Count, Freed

_LEAST_WANTED, _USUALLY_WANTED = 1_000_000, 1_000_000_000
_AT_ONCE = 250
"""How many images are looked at before more are."""
_LARGEST = 100
"""How many of the largest images are looked at first: they may have all of their bytes in common with a few others."""
_GROUP = 20
"""How many images are deleted for what they have in common."""
_SHOWN = 40
"""How many images can be chosen besides the suggested ones."""
_NEXT_TO_NOTHING = 100
"""Of the oldest images, those that free less than one part in so many of what is wanted are left out if they are not needed."""
_DOCKER = 1_363_824_000 * 10**9
"""Docker's first release, 2013-03-21, in nanoseconds since 1970: what says that it is older has no true date."""


class Strategy(StrEnum):
    """The images that a suggestion deletes first."""

    LARGEST = "largest"
    OLDEST = "oldest"
    UNTAGGED = "untagged"


class _Source(NamedTuple):
    """A source of candidates: the first images of an order."""

    selection: Selection
    order: Order
    most: int = MOST_IMAGES + 1


_SOURCES = {
    Strategy.LARGEST: (_Source(Selection(), Order(SortKey.SIZE), _LARGEST), _Source(Selection(), Order(SortKey.UNIQUE))),
    Strategy.OLDEST: (
        _Source(Selection(created_after=_DOCKER), Order(SortKey.CREATED, descending=False)),
        _Source(Selection(), Order(SortKey.CREATED, descending=False)),
    ),
    Strategy.UNTAGGED: (_Source(Selection(dangling=True), Order(SortKey.UNIQUE)),),
}


@dataclass(frozen=True, slots=True)
class Suggestion:
    """The suggested images, `more` images that could be chosen, and whether there are images that were not looked at."""

    freed: Freed
    more: tuple[Digest, ...]
    is_partial: bool


class _Group(NamedTuple):
    """Images that are deleted together, and what that frees."""

    images: tuple[Digest, ...]
    bytes: int


def suggest_deletions(engine: Engine, *, wanted: int, strategy: Strategy) -> Suggestion:
    """Suggest images to delete that free at least the wanted bytes together, or as many as can be.

    Of at most `MOST_IMAGES` by the order of the strategy: the oldest are taken one by one, but those that free next to nothing; of others
    those that free most for each image, last the smallest that are enough, and none that the others make needless.
    """
    count = Count()
    with engine.metadata.read() as tx:
        candidates, is_partial = _read_candidates(tx, strategy, wanted, count)
    if strategy is Strategy.OLDEST:
        chosen = _take_in_order(candidates, count, wanted)
        _drop_needless(chosen, count, min(wanted, count.freed), at_most=wanted // _NEXT_TO_NOTHING)
    else:
        chosen = _take_largest(candidates, count, wanted)
        _drop_needless(chosen, count, min(wanted, count.freed), at_most=count.freed)
    suggested = set(chosen)
    more = [image for image in candidates if image not in suggested][:_SHOWN]
    return Suggestion(count.result(chosen), tuple(more), is_partial)


def list_deletable(engine: Engine, images: Sequence[Digest], strategy: Strategy) -> list[ListedImage]:
    """These images as a list shows them, in the order of the strategy."""
    return list_images_of(engine, images, _SOURCES[strategy][-1].order)


def suggest_amount(engine: Engine) -> int:
    """How many bytes to ask for if nobody says: about a quarter of what images have, at most a GB, as 1, 2 or 5 and zeros."""
    with engine.metadata.read() as tx:
        amounts = tx.usage.amounts()
    most = min(max((amounts.unique.bytes + amounts.shared.bytes) // 4, _LEAST_WANTED), _USUALLY_WANTED)
    power = int(10 ** (len(str(most)) - 1))
    return max(digit * power for digit in (1, 2, 5) if digit * power <= most)


def _read_candidates(tx: Transaction, strategy: Strategy, wanted: int, count: Count) -> tuple[list[Digest], bool]:
    """Read images in the order of the strategy until all of them together free what is wanted; whether there are more."""
    found = [tx.targets.find(source.selection, source.order, limit=source.most) for source in _SOURCES[strategy]]
    every = list(dict.fromkeys(each for part in found for each in part))
    ids = every[:MOST_IMAGES]
    candidates: list[Digest] = []
    for start in range(0, len(ids), _AT_ONCE):
        images = [target.digest for target in tx.targets.read(ids[start : start + _AT_ONCE])]
        count.read(tx, images)
        candidates += images
        _take_in_order(images, count, wanted)
        if count.freed >= wanted:
            break
    count.clear()
    return candidates, len(every) > len(ids)


def _take_in_order(candidates: Sequence[Digest], count: Count, wanted: int) -> list[Digest]:
    chosen: list[Digest] = []
    for image in candidates:
        if count.freed >= wanted:
            break
        count.add(image)
        chosen.append(image)
    return chosen


def _take_largest(candidates: Sequence[Digest], count: Count, wanted: int) -> list[Digest]:
    """Take images, and groups of images that share something, by what they free for each image."""
    groups = deque(sorted(_groups(candidates, count), key=lambda group: group.bytes / len(group.images), reverse=True))
    largest = max((group.bytes for group in groups), default=0)
    chosen: dict[Digest, None] = {}
    while groups and count.freed < wanted:
        missing = wanted - count.freed
        enough = [group for group in groups if group.bytes >= missing] if largest >= missing else []
        group = min(enough, key=lambda group: (len(group.images), group.bytes)) if enough else groups[0]
        groups.remove(group)
        for image in group.images:
            if image not in chosen:
                count.add(image)
                chosen[image] = None
    return list(chosen)


def _groups(candidates: Sequence[Digest], count: Count) -> Iterator[_Group]:
    """Each candidate alone, and those that are all the users of a blob."""
    users: dict[Digest, list[Digest]] = defaultdict(list)
    for image in candidates:
        for blob in count.holdings[image]:
            users[blob].append(image)
    sharing = {tuple(images) for blob, images in users.items() if 1 < len(images) <= _GROUP and len(images) == count.users[blob]}
    for images in [*((image,) for image in candidates), *sharing]:
        for image in images:
            count.add(image)
        freed = count.freed
        for image in images:
            count.remove(image)
        yield _Group(images, freed)


def _drop_needless(chosen: list[Digest], count: Count, wanted: int, *, at_most: int) -> None:
    """Remove what a later image, or what it shares with it, has made needless, the last one that was taken first, if it frees at most so
    many bytes.
    """
    for image in chosen[::-1]:
        freed = count.freed_by(image)
        if count.freed - freed >= wanted and freed <= at_most:
            count.remove(image)
            chosen.remove(image)
