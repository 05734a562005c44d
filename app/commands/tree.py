"""`stowage tree`: which images are built on which."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator

from stowage.app.settings import Config
from stowage.app.terminal import complain, shown_size
from stowage.app.wiring import open_engine
from stowage.services.images.family import Family, Member, read_family
from stowage.services.metadata.usage import Relative

_NAMED = 4
"""How many images with the same layers are named."""


def show_tree(config: Config, options: Namespace) -> int:
    """Print a member of the family a line, below what it is built on."""
    with open_engine(config) as engine:
        family = read_family(engine, patterns=(options.pattern,) if options.pattern else ())
    for line in _lines(family):
        print(line)
    if not family.members:
        problem = "no image has layers"
        if family.left_out:
            problem = f"no image called {options.pattern!r} has layers of this platform"
        elif options.pattern:
            problem = f"no image is called {options.pattern!r}"
        unused = "; DOCKER_HOST is not used" if "DOCKER_HOST" in os.environ else ""
        complain(f"{problem} in the store {config.root}{unused}")
    return 0


def _lines(family: Family) -> Iterator[str]:
    drawn = [(_branches(member), member) for member in family.members]
    width = max((len(branches) + len(_name(member)) for branches, member in drawn), default=0)
    for branches, member in drawn:
        sign = "+" if member.parent else " "
        layers = f"{member.added_layers} layer{'' if member.added_layers == 1 else 's'}"
        yield f"{branches}{_name(member)}".ljust(width) + f"  {sign}{shown_size(member.added):<7}  {layers}"


def _branches(member: Member) -> str:
    """The lines that lead to a member from those that it is built on."""
    text, below = "", member
    while below.parent is not None:
        is_last = below is below.parent.children[-1]
        line = ("└── " if is_last else "├── ") if below is member else ("    " if is_last else "│   ")
        text, below = line + text, below.parent
    return text


def _name(member: Member) -> str:
    """The names of a few images, and how many there are besides."""
    more = len(member.images) - _NAMED
    return ", ".join(map(_name_of, member.images[:_NAMED])) + (f" and {more:,} more" if more > 0 else "")


def _name_of(image: Relative) -> str:
    """Its name, or its ID as Docker shortens it."""
    return image.name or image.digest.partition(":")[2][:12]
