"""Running transfers of all processes of the service, and a way to end one.

Each process knows its own transfers from counters in memory. While there are any, a thread writes all of them on the board every two
seconds, and learns there which ones somebody wants to end. A transfer that is over within half a second is never written.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from stowage.services.errors import EngineError, NotFound, TransferEnded
from stowage.services.meter import Extent, PartCounts, Rate, seconds_left
from stowage.services.oci.digest import Digest
from stowage.services.transfer_board import RunningPart, Transfer, TransferBoard, read_page, write_page

_FIRST_SECONDS = 0.5
_SECONDS = 2.0
_SHOWN_PARTS = 16
_SHOWN_LENGTH = 300
"""How much of a name is shown: clients can send very long ones."""

_log = logging.getLogger(__name__)


class Running:
    """A transfer of this process.

    `names` are the first images, which may still be added, and `count` returns how many there are. `received` returns the bytes of the
    request's body so far, and `length` is how many it has, if it is the body that is transferred and says so. `cut` ends what its thread
    may wait for: first that its client sends, then also that it accepts anything.
    """

    def __init__(
        self,
        operation: str,
        parts: PartCounts,
        *,
        names: Sequence[str],
        count: Callable[[], int],
        received: Callable[[], int],
        length: int | None = None,
        registry: str = "",
        client: str = "",
        cut: Callable[[bool], None] = lambda _: None,
    ) -> None:
        self.id = secrets.token_hex(8)
        self.is_ended = False
        self._operation, self._parts, self._names, self._count = operation, parts, names, count
        self._received, self._length, self._registry, self._client, self._cut = received, length, registry, client, cut
        self._began = time.time_ns()
        self._rate = Rate(time.monotonic())
        self._looks = 0

    def check(self) -> None:
        """Raise TransferEnded if somebody has ended the transfer."""
        if self.is_ended:
            raise TransferEnded(f"this {self._operation} was ended by an administrator")

    def look(self) -> None:
        """Called now and then: if the transfer is to end and does not, end what it waits for."""
        if self.is_ended:
            self._looks += 1
            if self._looks > 1:
                self._cut(self._looks > 2)

    def show(self) -> Transfer:
        """The transfer as it is now."""
        extent = self._extent()
        rate = self._rate.at(time.monotonic(), extent.moved)
        return Transfer(
            id=self.id,
            operation=self._operation,
            images=tuple(name[:_SHOWN_LENGTH] for name in list(self._names)),
            image_count=self._count(),
            registry=self._registry,
            client=self._client,
            started=self._began,
            done=extent.done,
            total=extent.total,
            rate=rate,
            left=seconds_left(extent, rate),
            parts=tuple(RunningPart(_short(part), done, size) for part, done, size in self._parts.running()[:_SHOWN_PARTS]),
            is_ending=self.is_ended,
        )

    def _extent(self) -> Extent:
        """How far the parts are, or else the body."""
        extent = self._parts.extent()
        return extent if extent.total is not None else Extent(self._received(), self._length, self._received())


class Transfers:
    """The transfers of this process, and through the board those of all others.

    It may be made before a fork: a process appears on the board with its first transfer.
    """

    def __init__(self, board: Callable[[], TransferBoard]) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._running: dict[str, Running] = {}
        self._process = ""
        self._is_watched = False
        self._due = 0.0

    @contextmanager
    def running(self, running: Running) -> Iterator[None]:
        """Show a transfer while the context is open."""
        with self._lock:
            self._running[running.id] = running
            if not self._is_watched:
                self._is_watched, self._process = True, self._process or secrets.token_hex(8)
                threading.Thread(target=self._watch, name="transfers", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                del self._running[running.id]

    def find(self) -> list[Transfer]:
        """Every transfer, the oldest first. Those of this process are as they are now, others as they were at most two seconds ago."""
        with self._lock:
            own = list(self._running.values())
        return sorted([each.show() for each in own] + self._others(), key=lambda transfer: (transfer.started, transfer.id))

    def end(self, identifier: str) -> None:
        """Ask for the end of a transfer, which takes up to a few seconds; raises NotFound if there is none with this id."""
        with self._lock:
            running = self._running.get(identifier)
        if running is not None:
            running.is_ended = True
        elif any(identifier == transfer.id for transfer in self._others()):
            self._board().end(identifier)
        else:
            raise NotFound(f"no transfer with the id {identifier[:_SHOWN_LENGTH]} is running")

    def _others(self) -> list[Transfer]:
        return [transfer for process, page in self._board().pages().items() if process != self._process for transfer in read_page(page)]

    def _watch(self) -> None:
        """Write on the board until nothing runs any more, never twice within two seconds."""
        time.sleep(max(_FIRST_SECONDS, self._due - time.monotonic()))
        has_shown = False
        while running := self._watched():
            has_shown = True
            self._tell(partial(self._renew, running))
            time.sleep(_SECONDS)
        if has_shown:
            self._tell(lambda board: board.clear(self._process))

    def _watched(self) -> list[Running]:
        """What runs now. If nothing does, the thread ends, and the next transfer starts another."""
        with self._lock:
            for running in self._running.values():
                running.look()
            self._is_watched, self._due = bool(self._running), time.monotonic() + _SECONDS
            return list(self._running.values())

    def _renew(self, running: list[Running], board: TransferBoard) -> None:
        page = write_page([each.show() for each in running])
        for identifier in board.post(self._process, page, [each.id for each in running]):
            with self._lock:
                if identifier in self._running:
                    self._running[identifier].is_ended = True

    def _tell(self, call: Callable[[TransferBoard], None]) -> None:
        """Use the board. It is only for looking, so a failure ends no transfer."""
        try:
            call(self._board())
        except EngineError as exc:
            _log.warning("cannot show what this process transfers: %s", exc)


def _short(part: Digest | str) -> str:
    return part.short if isinstance(part, Digest) else part
