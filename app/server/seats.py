"""Which requests may run now, and which wait until another ends.

A request is *quick* if this service alone decides how long it takes. As many other requests run at once as there are threads. A few
extra threads are reserved for quick requests, which therefore never wait behind uploads and streams. If there is a unix socket, a quarter
of the threads and half of the extra ones are reserved for *local* clients, those on that socket: its users own the store, while TCP is open
to anyone with a certificate.

Quick requests compute, so more of them at once are not faster: each only delays the others. Of TCP clients' quick requests no more run than
there are unreserved extra threads. Those of local clients also use idle threads, since some wait for the disk.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

SPARE = 8
"""Threads reserved for quick requests."""
PROBES = 2
"""Threads reserved for requests that arrive at the health address, which use no others."""

Job = TypeVar("Job", bound=Hashable)


class Kind(NamedTuple):
    """What decides when a request runs."""

    quick: bool
    local: bool
    probe: bool = False


PROBE = Kind(quick=True, local=False, probe=True)
"""What arrives at the health address."""

_ORDER = (PROBE, Kind(quick=True, local=True), Kind(quick=True, local=False), Kind(quick=False, local=True), Kind(quick=False, local=False))


class Seats(Generic[Job]):
    """The waiting jobs, in order of arrival within their kind, and the number of running ones."""

    def __init__(self, threads: int, *, has_local: bool) -> None:
        self._threads = threads
        self._remote = threads - threads // 4 if has_local else threads
        self._remote_quick = SPARE // 2 if has_local else SPARE
        self._waiting: dict[Kind, dict[Job, None]] = {kind: {} for kind in _ORDER}
        self._running: Counter[Kind] = Counter()

    def enter(self, job: Job, kind: Kind) -> None:
        """Queue a job."""
        self._waiting[kind][job] = None

    def withdraw(self, job: Job, kind: Kind) -> None:
        """Remove a job from the queue."""
        self._waiting[kind].pop(job, None)

    def next(self) -> Job | None:
        """The next job that may run, which counts as running from now on."""
        for kind, jobs in self._waiting.items():
            if jobs and self._has_room(kind):
                job = next(iter(jobs))
                del jobs[job]
                self._running[kind] += 1
                return job
        return None

    def leave(self, kind: Kind) -> None:
        """Note that a job of this kind has ended."""
        self._running[kind] -= 1

    def load(self) -> dict[str, tuple[int, int, int]]:
        """Per kind of request: all threads, those in use, and how many requests wait for one. Quick ones may use idle others too."""
        kinds = {"stream": self._threads, "quick": SPARE, "probe": PROBES}
        busy: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for kind in _ORDER:
            name = "probe" if kind.probe else "quick" if kind.quick else "stream"
            busy[name] += self._running[kind]
            waiting[name] += len(self._waiting[kind])
        return {name: (threads, busy[name], waiting[name]) for name, threads in kinds.items()}

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return self._running.total()

    def _has_room(self, kind: Kind) -> bool:
        if kind.probe:
            return self._running[kind] < PROBES
        if kind.quick:
            is_free = self._running.total() - self._running[PROBE] < self._threads + SPARE
            return is_free and (kind.local or self._running[kind] < self._remote_quick)
        local, remote = (self._running[Kind(quick=False, local=each)] for each in (True, False))
        return local + remote < self._threads and (kind.local or remote < self._remote)
