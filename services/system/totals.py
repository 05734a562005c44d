"""How much is in the store, for metrics."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.metadata.records import RowCounts


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
