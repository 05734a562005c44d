"""Progress of a streamed operation, as values, and amounts as Docker's CLI writes them; blueprints/streaming.py encodes the values.

Shapes follow moby's api/types/jsonstream: a message (`status`), a line per layer (`id`, `status`, `detail`), a text (`stream`).
Amounts follow docker/go-units size.go (HumanSize, four digits) and Go's time.Duration.String, in whole seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Detail:
    """The progress of one layer, in bytes (or `units`); all zero if only the status counts.

    Of a whole operation also the `rate`, in bytes a second, and the seconds that are `left`, if they can be said.
    """

    current: int = 0
    total: int = 0
    units: str = ""
    hide_counts: bool = False
    rate: int = 0
    left: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One line of a progress stream; unset fields are left out on the wire.

    `image` is the name or ID of an image that is now in the store. It is for the log and never on the wire.
    """

    status: str = ""
    id: str = ""
    detail: Detail | None = None
    stream: str = ""
    aux: dict[str, object] | None = None
    image: str = ""


ProgressStream = Generator[Progress, None, None]
"""What a streamed use case returns: closing it cancels the operation; an EngineError raised from it ends the stream."""

Advance = Callable[[int, int], None]
"""What a long command calls with how much is done, and of how much."""


def unobserved(done: int, total: int) -> None:
    """An Advance for callers that show nothing."""


_UNITS = ("B", "kB", "MB", "GB", "TB", "PB", "EB")


def human_size(count: int) -> str:
    """A number of bytes, in decimal units: `12.3MB`."""
    amount = float(count)
    for unit in _UNITS[:-1]:
        if amount < 1000:
            return f"{amount:.4g}{unit}"
        amount /= 1000
    return f"{amount:.4g}{_UNITS[-1]}"


def human_seconds(seconds: int) -> str:
    """A duration: `34s`, `5m12s`, `1h0m5s`."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if hours or minutes else "") + f"{rest}s"
