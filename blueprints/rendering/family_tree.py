"""The part of a family that a page shows: so many members, and of each so many children; links lead to the rest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from stowage.services.images.family import Member

_CHILDREN, _DEPTH = 12, 8
"""How many children of a member are shown, and how many levels."""


class Branch(NamedTuple):
    """A member, those of its children that are shown, and how many are not."""

    member: Member
    children: list[Branch]
    hidden: int


def branch_of(member: Member, *, depth: int = _DEPTH, children: Sequence[Member] | None = None) -> Branch:
    """What is shown of a member; `children` are those to show instead of its first ones."""
    shown = (member.children[:_CHILDREN] if depth else []) if children is None else children
    return Branch(member, [branch_of(child, depth=depth - 1) for child in shown], len(member.children) - len(shown))


def ancestors_of(member: Member) -> list[Member]:
    """What a member is built on, the first one first."""
    found = []
    while member.parent is not None:
        member = member.parent
        found.append(member)
    return found[::-1]


def largest_of(branches: Sequence[Branch]) -> int:
    """The most bytes that layers of a shown member have."""
    return max((max(branch.member.size, largest_of(branch.children)) for branch in branches), default=0)
