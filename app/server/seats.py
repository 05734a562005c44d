"""The queue of requests that wait for a thread.

There are four kinds of requests:

- A *health* request arrives at the health address. It may wait for a database that does not answer, or for a disk that hangs.
- A *probe* needs nothing of the store, such as `/_ping`.
- A *quick* request only computes, for a moment. Its thread never waits for its client.
- A *slow* one waits for its client (a body, a stream), for another machine (a registry), or computes for long.

Each kind has threads that no other uses. So probes wait for nothing else, and quick requests never wait behind uploads and streams. Of the
quick ones, the lists of all images take longer the more images there are: they leave threads to requests about one image. So
do those that change the store: they wait for each other, and for whoever else writes to the database.

If there is a unix socket, a part of each kind's threads is reserved for it: its users own the store, while TCP is open to anyone with a
certificate.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from enum import StrEnum
from functools import lru_cache
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import unquote

from gunicorn.util import split_request_uri
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map

from stowage.blueprints.routing import Route
from stowage.blueprints.versioning import split_version
from stowage.services.budget import Budget

HEALTH_THREADS = 2
PROBE_THREADS = 4
QUICK_THREADS = 6
"""Quick requests compute, so more of them at once are not faster: each only delays the others, and takes memory."""
LIST_THREADS = 2
"""How many of the quick ones may be lists."""
WRITE_THREADS = 3
"""How many of the quick ones may change the store."""

_PATH = 4096
"""The longest path that is compared with routes: the main thread does that, and a name has at most a few hundred characters."""
_KEPT = 256
"""How many paces of paths are kept."""
_BODY = re.compile(rb"\r\n(?:transfer-encoding|content-length:(?![ \t]*0+[ \t]*\r\n))", re.IGNORECASE)

_READING = frozenset({"GET", "HEAD", "OPTIONS"})

Job = TypeVar("Job", bound=Hashable)


class Pace(StrEnum):
    """The pace of a request: its expected duration, as its route declares it; at the health address there is only one."""

    HEALTH = "health"
    PROBE = "probe"
    QUICK = "quick"
    LIST = "listing"
    WRITE = "write"
    SLOW = "slow"


class Kind(NamedTuple):
    """The pace of a request, and whether it came from a local client."""

    pace: Pace
    local: bool

    @property
    def never_waits_for_client(self) -> bool:
        """Whether its thread must not wait for the client."""
        return self.pace is not Pace.SLOW


class _Lane(Generic[Job]):
    """Threads, of which a part is for local clients only, and who waits for one: local clients, and others."""

    def __init__(self, count: int, reserved: int) -> None:
        self.threads = Budget(count, reserved)
        self.waiting: dict[bool, dict[Job, Kind]] = {True: {}, False: {}}


class Seats(Generic[Job]):
    """The waiting jobs and the threads that they wait for. Those from local clients go first; otherwise whoever arrived first."""

    def __init__(self, slow_threads: int, *, has_local: bool) -> None:
        self._health = _Lane[Job](HEALTH_THREADS, 0)
        self._probe = _Lane[Job](PROBE_THREADS, has_local * PROBE_THREADS // 2)
        self._quick = _Lane[Job](QUICK_THREADS, has_local * QUICK_THREADS // 2)
        self._slow = _Lane[Job](slow_threads, has_local * slow_threads // 4)
        self._few = {pace: Budget(most, has_local * most // 2) for pace, most in ((Pace.LIST, LIST_THREADS), (Pace.WRITE, WRITE_THREADS))}
        self._lanes = {
            Pace.HEALTH: self._health,
            Pace.PROBE: self._probe,
            Pace.QUICK: self._quick,
            Pace.LIST: self._quick,
            Pace.WRITE: self._quick,
            Pace.SLOW: self._slow,
        }

    @property
    def threads(self) -> int:
        """How many threads all requests together may have."""
        return sum(count for count, _, _ in self.load().values())

    @property
    def running(self) -> int:
        """How many jobs run now."""
        return sum(busy for _, busy, _ in self.load().values())

    def enter(self, job: Job, kind: Kind) -> None:
        """Queue a job."""
        self._lanes[kind.pace].waiting[kind.local][job] = kind

    def withdraw(self, job: Job, kind: Kind) -> None:
        """Remove a job from the queue."""
        self._lanes[kind.pace].waiting[kind.local].pop(job, None)

    def next(self) -> Job | None:
        """The next job that may run, which counts as running from now on."""
        for lane in (self._health, self._probe, self._quick, self._slow):
            for queue in lane.waiting.values():
                for job, kind in queue.items():
                    budgets = self._budgets(kind)
                    if all(each.free for each in budgets):
                        del queue[job]
                        for each in budgets:
                            each.try_take(1)
                        return job
                    if kind.pace not in self._few:  # no other may run, but a quick one may where a list or a change may not
                        break
        return None

    def leave(self, kind: Kind) -> None:
        """Note that a job of this kind has ended."""
        for each in self._budgets(kind):
            each.give_back(1)

    def load(self) -> dict[str, tuple[int, int, int]]:
        """Per kind of request, as metrics call it: how many may run, how many do, and how many wait."""
        lanes = {"health": self._health, "probe": self._probe, "quick": self._quick, "stream": self._slow}
        return {name: (lane.threads.size, lane.threads.taken, sum(map(len, lane.waiting.values()))) for name, lane in lanes.items()}

    def _budgets(self, kind: Kind) -> list[Budget]:
        """What a job of this kind takes one of."""
        whole = [self._lanes[kind.pace].threads, *(budget for pace, budget in self._few.items() if pace is kind.pace)]
        return whole if kind.local else [each.unreserved for each in whole]


class Routes:
    """The routes of an application, with their paces.

    A request is slow unless its route says otherwise (`blueprints/routing.py`), and whenever it has a body, for which its thread may have
    to wait.
    """

    def __init__(self, url_map: Map) -> None:
        self._routes = url_map.bind("")
        self._pace_of_route = lru_cache(_KEPT)(self._look_up)

    def pace(self, head: bytes) -> Pace:
        """The pace of a request. `head` is complete, with or without what follows it, or as much as gunicorn needs to refuse it."""
        line, _, _ = head.lstrip(b"\r\n").partition(b"\r\n")
        head = head.partition(b"\r\n\r\n")[0] + b"\r\n"
        try:
            method, target, _ = line.decode("latin-1").split(" ", 2)
            path = split_request_uri(target).path
        except ValueError:
            return Pace.QUICK
        if len(path) > _PATH or _BODY.search(head):
            return Pace.SLOW
        return self._pace_of_route(method, path)

    def _look_up(self, method: str, path: str) -> Pace:
        """The pace of a request with this method and path and without a body. A path without a route is slow."""
        try:
            route, _ = self._routes.match(split_version(unquote(path))[1], method, return_rule=True)
        except HTTPException:
            return Pace.SLOW
        pace = Pace(route.pace) if isinstance(route, Route) else Pace.SLOW
        return Pace.WRITE if pace is Pace.QUICK and method not in _READING else pace
