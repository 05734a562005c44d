"""How far a whole pull or push is, as a progress line of its own: Docker shows each layer and never the sum."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from stowage.services.meter import Extent, PartCounts, Rate, seconds_left
from stowage.services.progress import Detail, Progress, ProgressStream, human_seconds, human_size

TOTAL = "Total"
"""The id of the line, beside those of layers."""
_SECONDS = 0.5


def with_totals(lines: ProgressStream, parts: PartCounts, clock: Callable[[], float] = time.monotonic) -> ProgressStream:
    """The same lines, and about twice a second one that says how far all parts are together: bytes, rate and time left.

    It comes as soon as there is anything to transfer. At the end of all, one without a bar says how much it was. If everything is there
    already, there is none. Raises what the lines raise; closing closes them.
    """
    began = due = clock()
    rate, told = Rate(began), None
    with closing(lines):
        for line in lines:
            yield line
            now = clock()
            if now >= due and (total := _line(parts.extent(), rate, now)) not in (None, told):
                due, told = now + _SECONDS, total
                yield total
    if told is not None:
        yield _last_line(parts.extent(), clock() - began)


def _line(extent: Extent, rate: Rate, now: float) -> Progress | None:
    """The line, if it is known how much there is."""
    if extent.total is None:
        return None
    speed = rate.at(now, extent.moved)
    left = seconds_left(extent, speed)
    status = "waiting" if left is None else f"{human_size(speed)}/s, {human_seconds(left)} left"
    return Progress(status, TOTAL, Detail(current=extent.done, total=extent.total, rate=speed, left=left))


def _last_line(extent: Extent, seconds: float) -> Progress:
    speed = human_size(round(extent.moved / seconds)) if seconds else human_size(extent.moved)
    return Progress(f"{human_size(extent.done)} in {human_seconds(round(seconds))}, {speed}/s", TOTAL, Detail())
