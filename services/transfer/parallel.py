"""The transfers of one pull or push while they run: their progress, their pauses before another try, and their cancellation.

Source: moby daemon/internal/distribution/xfer (transfer.go; download.go and upload.go for "Retrying").
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing

from stowage.services.engine import Engine
from stowage.services.errors import RegistryFailure
from stowage.services.meter import Extent, PartCounts, Rate, seconds_left
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.progress import Detail, Progress, ProgressStream, human_seconds, human_size
from stowage.services.registry.operations import Operation
from stowage.services.transfer.retry import TICK_SECONDS, Patience


def is_shown(blob: Descriptor) -> bool:
    """Whether progress is shown for this blob: not for documents, which are small."""
    media_type = blob.media_type
    return not (mediatypes.is_index(media_type) or mediatypes.is_manifest(media_type) or mediatypes.is_config(media_type))


class BlobTransfers:
    """BlobTransfers whose lines say `advancing` as bytes pass. Those that have not begun say `waiting`, or nothing if it is empty."""

    def __init__(self, engine: Engine, advancing: str, *, waiting: str = "") -> None:
        self._limits, self._tally, self._parts = engine.limits, engine.tally, engine.tally.parts
        self._advancing = advancing
        self._waiting = waiting
        self._cancelled = threading.Event()
        self._operation = Operation()
        self._passed: dict[Digest, int] = {}
        self._due: dict[Digest, float] = {}

    def follow(self, futures: dict[Future[Progress], Descriptor]) -> ProgressStream:
        """Yield progress until every future is done, and the result of each shown blob's future; raises the first failure."""
        pending = set(futures)
        told: dict[Digest, Progress] = {}
        due = time.monotonic() + TICK_SECONDS
        while pending:
            done, pending = wait(pending, timeout=max(0.0, due - time.monotonic()), return_when=FIRST_COMPLETED)
            for future in done:
                last = future.result()
                self._parts.finish(futures[future].digest)
                if is_shown(futures[future]):
                    yield last
            if time.monotonic() >= due:
                yield from self._advances([blob for future, blob in futures.items() if future in pending], told)
                due = time.monotonic() + TICK_SECONDS

    def cancel(self) -> None:
        """End every running or future transfer and its connections."""
        self._cancelled.set()
        self._operation.cancel()

    def check(self) -> None:
        """Raise RegistryFailure if the transfers were cancelled."""
        if self._cancelled.is_set():
            raise RegistryFailure("context canceled")

    def advance(self, blob: Descriptor, passed: int) -> None:
        """Note how many bytes of the blob were transferred."""
        self._passed[blob.digest] = passed
        self._parts.reach(blob.digest, passed)

    def patience(self) -> Patience:
        """A new count of tries for one blob."""
        limits, seconds = self._limits, self._limits.stall_seconds
        return Patience(limits.download_attempts, limits.retry_seconds, least=limits.least_rate * seconds, window=seconds)

    def pause(self, blob: Descriptor, seconds: float) -> None:
        """Wait before the next try, shown as "Retrying"; raises as `check` does."""
        self.check()
        self._tally.add(retries=1)
        self._due[blob.digest] = time.monotonic() + seconds
        self._cancelled.wait(seconds)
        del self._due[blob.digest]
        self.check()

    def _advances(self, blobs: Sequence[Descriptor], told: dict[Digest, Progress]) -> Iterator[Progress]:
        """One line per shown blob whose state has changed, or a single tick if there is none."""
        news = [(blob, line) for blob in blobs if is_shown(blob) and (line := self._state(blob)) and line != told.get(blob.digest)]
        for blob, line in news:
            told[blob.digest] = line
            yield line
        if not news:
            yield Progress()

    def _state(self, blob: Descriptor) -> Progress | None:
        """The line for a blob that is being transferred, if any."""
        short, due, passed = blob.digest.short, self._due.get(blob.digest), self._passed.get(blob.digest)
        if due is not None and (seconds := math.ceil(due - time.monotonic())) > 0:
            return Progress(f"Retrying in {seconds} second{'s' * (seconds != 1)}", short, Detail())
        if passed is not None:
            return Progress(self._advancing, short, Detail(current=passed, total=blob.size))
        return Progress(self._waiting, short, Detail()) if self._waiting else None


TOTAL = "Total"
"""The id of the line, beside those of layers."""
_TOTAL_SECONDS = 0.5


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
            if now >= due and (total := _total_line(parts.extent(), rate, now)) not in (None, told):
                due, told = now + _TOTAL_SECONDS, total
                yield total
    if told is not None:
        yield _last_line(parts.extent(), clock() - began)


def _total_line(extent: Extent, rate: Rate, now: float) -> Progress | None:
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
