"""Readiness for probes (the database answers, the content store takes a blob and has space), and totals of the store for metrics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.metadata.records import RowCounts

FRESH_SECONDS = 1.0
"""How long the outcome of a check is reused: any number of probes costs one check a second."""
PATIENCE_SECONDS = 5.0
"""How long a check may take; a disk that hangs would otherwise hold up every probe."""


def find_problems(engine: Engine) -> list[str]:
    """A sentence for each thing that keeps the service from its work.

    Nothing is synced, since a sync waits for all that other requests are writing, and no write transaction is begun, since it would queue
    behind theirs.
    """
    checks: dict[str, Callable[[], object]] = {
        "The database does not answer": engine.metadata.check,
        "The content store cannot take a blob": engine.content.check,
    }
    problems = [f"{what}: {problem}." for what, check in checks.items() if (problem := _problem(check))]
    if not problems and (scarcity := little_space(engine)):
        problems.append(scarcity)
    return problems


def little_space(engine: Engine) -> str | None:
    """A sentence if the content store has less free space than it should; raises EngineError."""
    free, least = engine.content.free(), engine.limits.least_free
    if free >= least:
        return None
    return f"The content store has little space: {free} bytes are free, and STOWAGE_LEAST_FREE is {least}."


def _problem(check: Callable[[], object]) -> str | None:
    """Why a check failed. Anyone may read it, so for an error of the system it is the reason without the path."""
    try:
        check()
    except EngineError as exc:
        return exc.__cause__.strerror if isinstance(exc.__cause__, OSError) and exc.__cause__.strerror else str(exc)
    return None


class Readiness:
    """The outcome of a check that runs once at a time, and not more often than needed."""

    def __init__(self, check: Callable[[], list[str]]) -> None:
        self._check = check
        self._lock = threading.Lock()
        self._last: Future[list[str]] | None = None
        self._began = 0.0

    def problems(self) -> list[str]:
        """What the check found a moment ago or finds now; if it takes too long, a sentence that says so."""
        with self._lock:
            if self._last is None or (self._last.done() and time.monotonic() >= self._began + FRESH_SECONDS):
                self._began, self._last = time.monotonic(), self._start()
            last, until = self._last, self._began + PATIENCE_SECONDS
        try:
            return last.result(max(0.0, until - time.monotonic()))
        except TooLate:
            return [f"The store has not answered for {PATIENCE_SECONDS:g} seconds."]

    def _start(self) -> Future[list[str]]:
        """Begin a check, in a thread of its own."""
        outcome: Future[list[str]] = Future()

        def run() -> None:
            try:
                outcome.set_result(self._check())
            except Exception as exc:  # noqa: BLE001 - a defect of the check must not pass for an answer
                outcome.set_result([f"The check of the store failed: {exc}."])

        threading.Thread(target=run, name="readiness", daemon=True).start()
        return outcome


@dataclass(frozen=True, slots=True)
class Totals:
    """Rows, the bytes that may still be written for blobs, and how many should be; None is unknown."""

    rows: RowCounts | None
    free: int | None
    least_free: int


def read_totals(engine: Engine) -> Totals:
    """Count what there is. A store that does not answer is no error."""
    rows = free = None
    with suppress(EngineError):
        rows = engine.metadata.counts()
    with suppress(EngineError):
        free = engine.content.free()
    return Totals(rows, free, engine.limits.least_free)
