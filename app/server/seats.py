"""Which requests may run now, and which wait until another ends.

A request is *quick* if this service alone decides how long it takes, and that is a moment. As many *slow* requests run at once as there are
threads. A few extra threads are reserved for quick requests, which therefore never wait behind uploads and streams. If there is a unix
socket, a quarter of the threads and half of the extra ones are reserved for *local* clients, those on that socket: its users own the store,
while TCP is open to anyone with a certificate.

Quick requests compute, so more of them at once are not faster: each only delays the others, and takes memory. So no more run than have
extra threads, and half of these are left by *lists*, which take longer the more images there are. Only those of local clients that change
the store also use idle threads, since they wait for each other and for the disk. *Instant* requests use nothing of the store, and have
threads that no others use. Of requests that *compute*, maybe for minutes, a few run at once, in threads that slow ones use too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable
from enum import Enum, auto
from itertools import count
from typing import Generic, NamedTuple, TypeVar

SPARE = 8
"""Threads reserved for quick requests that use the store."""
INSTANT = 2
"""Threads reserved for instant requests, which use no others."""
COMPUTING = 4
"""How many requests that compute for long run at once."""
PROBES = 2
"""Threads reserved for requests that arrive at the health address, which use no others."""
EXTRA = SPARE + INSTANT + PROBES

Job = TypeVar("Job", bound=Hashable)


class Pace(Enum):
    """What decides how long a request takes: the client or another machine if it is slow, else this service alone."""

    INSTANT = auto()
    READ = auto()
    LIST = auto()
    WRITE = auto()
    COMPUTE = auto()
    SLOW = auto()
    PROBE = auto()


LONG = frozenset({Pace.COMPUTE, Pace.SLOW})
"""What may take longer than a moment."""


class Kind(NamedTuple):
    """What decides when a request runs."""

    pace: Pace
    local: bool

    @property
    def never_waits_for_client(self) -> bool:
        """Whether its thread must not wait for the client."""
        return self.pace is not Pace.SLOW


PROBE = Kind(Pace.PROBE, local=False)
"""What arrives at the health address."""

_INSTANT, _READ, _LIST, _WRITE, _COMPUTE, _SLOW = (Kind(pace, local=True) for pace in Pace if pace is not Pace.PROBE)
_INSTANT_TCP, _READ_TCP, _LIST_TCP, _WRITE_TCP, _COMPUTE_TCP, _SLOW_TCP = (
    Kind(pace, local=False) for pace in Pace if pace is not Pace.PROBE
)
_GROUPS = (
    (PROBE,),
    (_INSTANT,),
    (_INSTANT_TCP,),
    (_READ, _LIST, _WRITE),
    (_READ_TCP, _LIST_TCP, _WRITE_TCP),
    (_COMPUTE, _SLOW),
    (_COMPUTE_TCP, _SLOW_TCP),
)
"""The first group goes first; within a group, whoever arrived first."""
_KINDS = tuple(kind for group in _GROUPS for kind in group)
_QUICK = (_READ, _LIST, _WRITE, _READ_TCP, _LIST_TCP, _WRITE_TCP)
_OTHERS = (_COMPUTE, _SLOW, _COMPUTE_TCP, _SLOW_TCP)
_LOADS = {
    Pace.SLOW: "stream",
    Pace.COMPUTE: "compute",
    Pace.READ: "quick",
    Pace.LIST: "quick",
    Pace.WRITE: "quick",
    Pace.INSTANT: "instant",
    Pace.PROBE: "probe",
}
"""What metrics call them."""


class _Lane(NamedTuple):
    """Kinds of which at most so many requests run at once."""

    kinds: Collection[Kind]
    most: int


def _lanes(threads: int, *, has_local: bool) -> list[_Lane]:
    """The lanes; a request may be in several, and needs room in each."""
    computing, remote_quick = _computing(threads), SPARE // 2 if has_local else SPARE
    return [
        _Lane((PROBE,), PROBES),
        _Lane((_INSTANT, _INSTANT_TCP), INSTANT),
        _Lane((_INSTANT_TCP,), INSTANT // 2 if has_local else INSTANT),
        _Lane((_READ, _LIST), SPARE // 2),
        _Lane((_LIST,), SPARE // 4),
        _Lane((_READ_TCP, _LIST_TCP, _WRITE_TCP), remote_quick),
        _Lane((_LIST_TCP,), remote_quick // 2),
        _Lane((_COMPUTE, _COMPUTE_TCP), computing),
        _Lane((_COMPUTE_TCP,), max(1, computing // 2) if has_local else computing),
        _Lane(_OTHERS, threads),
        _Lane((_COMPUTE_TCP, _SLOW_TCP), threads - threads // 4 if has_local else threads),
        _Lane((_WRITE, *_OTHERS), threads + SPARE // 2),
        _Lane((*_QUICK, *_OTHERS), threads + SPARE),
    ]


def _computing(threads: int) -> int:
    """How many requests that compute run at once: they leave some threads to transfers."""
    return min(COMPUTING, max(1, threads // 2))


class Seats(Generic[Job]):
    """The waiting jobs with the order in which they arrived, and the number of running ones."""

    def __init__(self, threads: int, *, has_local: bool) -> None:
        self._threads = {"stream": threads, "compute": _computing(threads), "quick": SPARE, "instant": INSTANT, "probe": PROBES}
        lanes = _lanes(threads, has_local=has_local)
        self._lanes = {kind: [lane for lane in lanes if kind in lane.kinds] for kind in _KINDS}
        self._waiting: dict[Kind, dict[Job, int]] = {kind: {} for kind in _KINDS}
        self._arrivals = count()
        self._running: Counter[Kind] = Counter()

    def enter(self, job: Job, kind: Kind) -> None:
        """Queue a job."""
        self._waiting[kind][job] = next(self._arrivals)

    def withdraw(self, job: Job, kind: Kind) -> None:
        """Remove a job from the queue."""
        self._waiting[kind].pop(job, None)

    def next(self) -> Job | None:
        """The next job that may run, which counts as running from now on."""
        for group in _GROUPS:
            ready = [kind for kind in group if self._waiting[kind] and self._has_room(kind)]
            if ready:
                kind = min(ready, key=lambda each: next(iter(self._waiting[each].values())))
                job = next(iter(self._waiting[kind]))
                del self._waiting[kind][job]
                self._running[kind] += 1
                return job
        return None

    def leave(self, kind: Kind) -> None:
        """Note that a job of this kind has ended."""
        self._running[kind] -= 1

    def load(self) -> dict[str, tuple[int, int, int]]:
        """Per kind of request: how many may run, how many do, and how many wait. Local quick ones that write may use idle threads too."""
        busy: Counter[str] = Counter()
        waiting: Counter[str] = Counter()
        for kind in _KINDS:
            name = _LOADS[kind.pace]
            busy[name] += self._running[kind]
            waiting[name] += len(self._waiting[kind])
        return {name: (threads, busy[name], waiting[name]) for name, threads in self._threads.items()}

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return self._running.total()

    def _has_room(self, kind: Kind) -> bool:
        return all(sum(self._running[each] for each in lane.kinds) < lane.most for lane in self._lanes[kind])
