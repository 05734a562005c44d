"""How long a request may look into layers: until its time is over, or its client has disconnected."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from stowage.services.errors import Forbidden
from stowage.services.registry.operations import current_operation


class TookTooLong(Forbidden):
    """The time of the request is over."""


class Look:
    """The time that one request has to read layers, all those of its images together.

    It belongs to the `operation` of the thread that makes it, and ends with it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = time.monotonic() + seconds
        self.operation = current_operation()

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self._until - time.monotonic()

    def check(self, task: str) -> None:
        """Raise TookTooLong if the time is over, and what `Operation.check` raises if nobody waits for the answer any more."""
        self.operation.check()
        if self.left < 0:
            raise TookTooLong(f"{task} takes more than {self.seconds} seconds; STOWAGE_LISTING_SECONDS allows more")

    def checked(self, chunks: Iterable[bytes], task: str) -> Iterator[bytes]:
        """The chunks, with a check after each."""
        for chunk in chunks:
            yield chunk
            self.check(task)
