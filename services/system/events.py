"""The events that a client asks for, past and future.

Source: moby daemon/server/router/system/system_routes.go (getEvents), daemon/events/events.go and filter.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

from stowage.services.engine import Engine
from stowage.services.errors import InvalidReference, Unavailable
from stowage.services.filters import Filters
from stowage.services.metadata.records import Event, Selection, Target
from stowage.services.oci.reference import Reference
from stowage.services.store.events import IMAGE
from stowage.services.store.resolve import familiar_name, is_dangling

SCOPE = "local"
"""The scope of all events."""

_PAGE = 32
"""How many events are in memory at once; one may have many kilobytes of labels."""

_FUZZY_ACTIONS = frozenset({"health_status", "exec_create", "exec_start"})
_NAMED_TYPES = ("daemon", "container", "plugin", "volume", "network", "node", "service", "secret", "config")


def watch_events(engine: Engine, *, since: int | None, until: int | None, filters: Filters) -> Iterator[Event | None]:
    """Yield the events that pass the filters in the order of their ids; ends once the clock is past `until`, or never.

    Times are nanoseconds since 1970. With either of them the history between them comes first, then what happens after the call.
    An `until` of 0 or less excludes nothing: the whole history is yielded, and then the stream ends.
    None means that there is nothing more now, or that the database is away, which loses no event: the caller should wait before asking
    again. Raises Unavailable only if the database is away at the beginning.
    """
    with engine.metadata.read() as tx:
        now = tx.events.last()
    position = now if since is None and until is None else 0
    while True:
        try:
            over = until is not None and until < engine.clock()
            page = _read_page(engine, position)
        except Unavailable:
            yield None
            continue
        for event in page:
            position = event.id
            too_early = event.id <= now and event.time < (since or 0)
            too_late = until is not None and 0 < until < event.time
            if not too_early and not too_late and passes(event, filters):
                yield event
        if over and len(page) < _PAGE:
            return
        if len(page) < _PAGE:
            yield None


def newest_events(engine: Engine, *, after: int = 0) -> list[Event]:
    """The last few events, of those with a higher id, the newest first."""
    with engine.metadata.read() as tx:
        return tx.events.after(max(after, tx.events.last() - _PAGE), limit=_PAGE)[::-1]


def names_now(engine: Engine, events: Iterable[Event]) -> dict[str, str]:
    """What the images of events are called now, of those that still exist, by the ID or the name in the event: a name by itself, and an ID
    by the first name of its image, or itself if that has none. An archive's images are reported by their IDs.
    """
    given = {text for event in events for text in (event.actor.id, event.actor.attributes.get("name", ""))}
    canonical = {name: text for text in given if (name := _canonical(text))}
    with engine.metadata.read() as tx:
        found = tx.targets.read(tx.targets.find(Selection(among=given)))
        names = {canonical[name]: canonical[name] for name in tx.images.named(canonical.keys())}
    return names | {str(target.digest): _name_of(target) for target in found}


def _name_of(target: Target) -> str:
    named = [record for record in target.records if not is_dangling(record)]
    return familiar_name((named or target.records)[0])


def _canonical(text: str) -> str:
    with suppress(InvalidReference):
        return str(Reference.parse(text))
    return ""


def _read_page(engine: Engine, position: int) -> list[Event]:
    with engine.metadata.read() as tx:
        return tx.events.after(position, limit=_PAGE)


def passes(event: Event, filters: Filters) -> bool:
    """Whether every filter lets the event pass. One without values lets all pass, one with an unknown name is ignored, as in moby."""
    return (
        _matches_action(event, filters)
        and _is_exactly(filters, "type", event.type)
        and _is_exactly(filters, "scope", SCOPE)
        and all(
            _begins(filters, kind, event.actor.id) or _begins(filters, kind, event.actor.attributes.get("name", ""))
            for kind in _NAMED_TYPES
        )
        and _matches_image(event, filters)
        and all(_has_label(event, label) for label in filters.get("label"))
    )


def _matches_action(event: Event, filters: Filters) -> bool:
    wanted = filters.get("event")
    return _begins(filters, "event", event.action) if _FUZZY_ACTIONS.intersection(wanted) else _is_exactly(filters, "event", event.action)


def _matches_image(event: Event, filters: Filters) -> bool:
    """Whether the actor or its name is one of the images, with or without their tags."""
    name = event.actor.attributes.get("name" if event.type == IMAGE else "image", "")
    return any(_is_exactly(filters, "image", text) for text in (event.actor.id, name, _without_tag(event.actor.id), _without_tag(name)))


def _without_tag(image: str) -> str:
    try:
        return Reference.parse(image).familiar_name
    except InvalidReference:
        return image


def _has_label(event: Event, label: str) -> bool:
    key, equals, value = label.partition("=")
    return key in event.actor.attributes and (not equals or event.actor.attributes[key] == value)


def _is_exactly(filters: Filters, name: str, text: str) -> bool:
    values = filters.fields.get(name)
    return not values or values.get(text, False)


def _begins(filters: Filters, name: str, text: str) -> bool:
    return _is_exactly(filters, name, text) or text.startswith(filters.get(name))
