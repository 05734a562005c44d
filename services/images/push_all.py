"""Pushing many images under other names: what is pushed where.

    destination := domain [ "/" path ]

The registry of an image's name is replaced by the destination, its path and tag (or digest) stay. To `localhost:5000/prefix`, for example,
debian:trixie is pushed as localhost:5000/prefix/library/debian:trixie, and localhost:5001/team/app:1 as localhost:5000/prefix/team/app:1.
So without a prefix the registry can serve as a mirror. An image that already has a name below the destination keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from stowage.services.engine import Engine
from stowage.services.errors import Conflict, InvalidReference, NotFound
from stowage.services.metadata.records import ImageRecord, Selection
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.store.image_filters import ImageFilter
from stowage.services.store.name_patterns import NamePatterns

_SHOWN_COLLISIONS = 5


@dataclass(frozen=True, slots=True)
class PlannedPush:
    """An image, by its name here, and the name that it is pushed to."""

    name: Reference
    to: Reference


@dataclass(frozen=True, slots=True)
class PushDestination:
    """The registry that images are pushed to, and the beginning of their path there, empty or ending in a slash."""

    domain: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> PushDestination:
        """Read `REGISTRY[/PREFIX]`; raises InvalidReference unless its first component is a registry's address."""
        registry, _, path = text.strip("/").partition("/")
        try:
            reference = Reference.parse(f"{registry}/{path}/image" if path else f"{registry}/image")
        except InvalidReference as exc:
            raise InvalidReference(f"{text!r} is not REGISTRY[/PREFIX]: {exc}; write it as in localhost:5000/team") from exc
        if reference.domain != registry or not reference.is_name_only:
            raise InvalidReference(f"{text!r} does not begin with a registry's address; write it as in localhost:5000/team")
        return cls(registry, f"{path}/" if path else "")

    def rename(self, name: Reference) -> Reference:
        """The name that an image gets there; raises InvalidReference if it would be too long."""
        if name.domain == self.domain and name.path.startswith(self.prefix):
            return name
        return Reference.parse_canonical(str(replace(name, domain=self.domain, path=self.prefix + name.path)))


def plan_pushes(engine: Engine, destination: PushDestination, patterns: Sequence[str] = ()) -> list[PlannedPush]:
    """What to push, by name: every image that has a name, or those that match a pattern as `docker images` reads it.

    Raises NotFound if a pattern matches nothing, and Conflict, before anything is sent, if two images would get the same name there. Two
    names of one image that become the same name are pushed once.
    """
    wanted = sorted(_matching(engine, patterns), key=lambda record: record.name)
    pushes: dict[str, PlannedPush] = {}
    targets: dict[str, Digest] = {}
    collisions: list[str] = []
    for record in wanted:
        name = Reference.parse_canonical(record.name)
        to = destination.rename(name)
        first = pushes.setdefault(str(to), PlannedPush(name, to))
        if targets.setdefault(str(to), record.target.digest) != record.target.digest:
            collisions.append(f"{first.name.familiar} and {name.familiar} would both become {to.familiar}")
    if collisions:
        raise Conflict(_explain(collisions))
    return list(pushes.values())


def _matching(engine: Engine, patterns: Sequence[str]) -> Iterable[ImageRecord]:
    named = Selection(dangling=False)
    if not patterns:
        return _records(engine, ImageFilter(named))
    matching: dict[str, ImageRecord] = {}
    for pattern in patterns:
        found = {record.name: record for record in _records(engine, ImageFilter(named, NamePatterns((pattern,))))}
        if not found:
            raise NotFound(f"no image matches {pattern!r}; `docker images` shows their names")
        matching |= found
    return matching.values()


def _records(engine: Engine, image_filter: ImageFilter) -> list[ImageRecord]:
    with engine.metadata.read() as tx:
        return [record for target in image_filter.read(tx, image_filter.find(tx)) for record in target.records]


def _explain(collisions: list[str]) -> str:
    more = len(collisions) - _SHOWN_COLLISIONS
    shown = collisions[:_SHOWN_COLLISIONS] + ([f"{more} more"] if more > 0 else [])
    return f"{'; '.join(shown)}. Push them one after the other with patterns, each to a prefix of its own."
