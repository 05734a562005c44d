"""How much a database does, counted."""

from __future__ import annotations

from collections.abc import Callable

from stowage.services.metadata.store import Transaction

INSTRUCTIONS = 100
"""Instructions of SQLite's virtual machine that are counted as one step."""


def steps(tx: Transaction, act: Callable[[], object]) -> int:
    """How much SQLite does for an act."""
    counted = 0

    def count() -> int:
        nonlocal counted
        counted += 1
        return 0

    connection = tx.graph._connection.connection.driver_connection
    assert connection is not None
    connection.set_progress_handler(count, INSTRUCTIONS)
    try:
        act()
    finally:
        connection.set_progress_handler(None, 0)
    return counted
