"""Families of images: each image and the one that it is built on, found by their first layers.

An image is built on another if all layers of the other are its first ones. Of several such images it is built on the one with the most
layers. Images with the same layers, which differ only in their configuration, are one *member* of the family. Layers are compared by
their diff_ids, so that it does not matter how they are compressed. An image with several platforms is compared by the one that lists show.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from stowage.services.engine import Engine
from stowage.services.errors import Forbidden
from stowage.services.kept import Kept
from stowage.services.metadata.records import Selection
from stowage.services.metadata.store import Transaction
from stowage.services.metadata.usage import Chain, Relative
from stowage.services.oci.digest import Digest
from stowage.services.store.image_filters import ImageFilter
from stowage.services.store.name_patterns import NamePatterns
from stowage.services.store.resolve import resolve_image

_CHAIN_BYTES = 400
"""Memory for a chain and its key, besides 16 bytes a layer."""

_kept: Kept[str, Chain] = Kept(24 << 20)
"""Chains by the digest of their manifest, which never change."""
_NONE = Chain(array("q"), array("q"))
_ANY = ImageFilter(Selection())


@dataclass(slots=True, eq=False)
class Member:
    """Images with the same layers, ordered by name: how many layers they have, and the stored bytes of these.

    `added_layers` and `added` are those beyond the parent's. `descendants` counts members.
    """

    images: list[Relative]
    layers: int
    size: int
    parent: Member | None = None
    children: list[Member] = field(default_factory=list)
    descendants: int = 0

    @property
    def added_layers(self) -> int:
        return self.layers - (self.parent.layers if self.parent else 0)

    @property
    def added(self) -> int:
        return self.size - (self.parent.size if self.parent else 0)


@dataclass(frozen=True, slots=True)
class Family:
    """All members in the order of a tree, each before those that are built on it; larger families come first.

    `left_out` is how many of the images that were asked for are no members: they have no layers of the store's platform.
    """

    members: list[Member]
    left_out: int = 0

    @property
    def roots(self) -> list[Member]:
        """The members that are not built on another one."""
        return [member for member in self.members if member.parent is None]


def read_family(engine: Engine, *, patterns: tuple[str, ...] = (), name: str = "", most: int | None = None) -> Family:
    """The family of all images, or, with patterns as in the filter `reference`, of those that match: what they are built on, and what is
    built on them. With a `name` or ID and no pattern it is the family of that image. Images have the name that matches, or that was given,
    instead of their first one.

    Raises InvalidParameter for patterns that make no sense, InvalidReference, ImageNotFound, and Forbidden if more images than `most` would
    have to be compared.
    """
    with engine.metadata.read() as tx:
        names = _find_names(tx, patterns, name)
        wanted = None if names is None else set(tx.targets.find(Selection(among=names.keys())))
        if most is not None and len(wanted or ()) > most:
            raise _too_many(most)
        relatives = tx.usage.relatives(of=wanted, most=None if most is None else most + 1)
        if most is not None and len(relatives) > most:
            raise _too_many(most)
        named = [image._replace(first_name=names[image.digest]) if names and image.digest in names else image for image in relatives]
        members = _relate(_read_members(tx, named))
    left_out = 0
    if wanted is not None:
        left_out = len(wanted - {image.id for member in members for image in member.images})
        members = _related([member for member in members if not wanted.isdisjoint(image.id for image in member.images)])
    return Family(list(_in_order([member for member in members if member.parent is None], set(map(id, members)))), left_out)


def find_member(engine: Engine, family: Family, name: str) -> Member | None:
    """The member with the image of this name or ID. Raises InvalidReference and ImageNotFound."""
    with engine.metadata.read() as tx:
        digest = str(resolve_image(tx, name).target.digest)
    return next((member for member in family.members if any(image.digest == digest for image in member.images)), None)


def digest_of(image: Relative) -> Digest:
    """The digest of an image, as a value."""
    return Digest.parse(image.digest)


def _find_names(tx: Transaction, patterns: tuple[str, ...], name: str) -> dict[str, str] | None:
    """A name of each image whose family is wanted, by the text of its digest, or None for all images."""
    if patterns:
        return _ANY.find_names(tx, NamePatterns(patterns))
    if not name:
        return None
    record = resolve_image(tx, name)
    return {str(record.target.digest): record.name}


def _too_many(most: int) -> Forbidden:
    return Forbidden(f"more than {most:,} images would be compared: name some by a pattern such as team/*, or raise STOWAGE_FAMILY_IMAGES")


def _read_members(tx: Transaction, relatives: list[Relative]) -> dict[int, tuple[Member, Chain]]:
    """The members by the hash of all their layers. Images without layers, which all others would be built on, are left out."""
    chains = {image.shown: chain for image in relatives if (chain := _kept.get(image.shown)) is not None}
    missing = [image.shown for image in relatives if image.shown not in chains]
    read = dict.fromkeys(missing, _NONE) | tx.usage.chains(missing)
    for shown, chain in read.items():
        _kept.put(shown, chain, _CHAIN_BYTES + 16 * len(chain.hashes))
    chains |= read
    members: dict[int, tuple[Member, Chain]] = {}
    for image in relatives:
        chain = chains[image.shown]
        if not chain.hashes:
            continue
        last = chain.hashes[-1]
        if last not in members:
            members[last] = Member([], len(chain.hashes), chain.sizes[-1]), chain
        members[last][0].images.append(image)
    return members


def _relate(members: dict[int, tuple[Member, Chain]]) -> list[Member]:
    """Give each member its parent, its children and the number of its descendants."""
    for member, chain in members.values():
        member.images.sort(key=lambda image: image.first_name)
        found = next((members[each] for each in reversed(chain.hashes[:-1]) if each in members), None)
        if found is not None:
            member.parent = found[0]
            found[0].children.append(member)
    ordered = sorted((member for member, _ in members.values()), key=lambda member: member.layers)
    for member in reversed(ordered):
        if member.parent is not None:
            member.parent.descendants += 1 + member.descendants
    return ordered


def _related(members: list[Member]) -> list[Member]:
    """These members, their ancestors and their descendants, those with fewer layers first."""
    found: dict[int, Member] = {}
    for member in members:
        waiting = [member]
        while waiting:
            each = waiting.pop()
            if id(each) not in found:
                found[id(each)] = each
                waiting += each.children
        above = member.parent
        while above is not None and id(above) not in found:
            found[id(above)] = above
            above = above.parent
    return list(found.values())


def _in_order(members: list[Member], shown: set[int]) -> Iterator[Member]:
    """These members and their children, depth first, as far as they are shown; others are taken out of the tree."""
    waiting = _sorted(members)
    while waiting:
        member = waiting.pop()
        member.children = [child for child in member.children if id(child) in shown]
        yield member
        waiting += _sorted(member.children)


def _sorted(members: list[Member]) -> list[Member]:
    """The last is to come first: the one with the most descendants, then by name."""
    members.sort(key=lambda member: (-member.descendants, member.images[0].first_name))
    return members[::-1]
