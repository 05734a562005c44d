"""The events of a store, as part of a transaction."""

from __future__ import annotations

from typing import Protocol

from stowage.services.metadata.records import Actor, Event


class Events(Protocol):
    """The events of all processes; a bounded history is kept. Those of a transaction are visible once it is committed."""

    def append(self, *, time: int, event_type: str, action: str, actor: Actor) -> None:
        """Add the newest event. Now and then the oldest are dropped, so there are at most a sixteenth more than the store keeps.

        The time is that of the event before if that is later by less than a minute: whoever asks again for what came since then gets this.
        """

    def last(self) -> int:
        """The id of the newest event, 0 if there never was one."""

    def after(self, position: int, *, limit: int) -> list[Event]:
        """The events with ids beyond `position`, oldest first, at most `limit`."""
