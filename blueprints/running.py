"""A request as one of the service's transfers, for as long as its stream runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from flask import current_app

from stowage.blueprints.client import client_cutter, client_name
from stowage.blueprints.log_entry import CLIENT_LEFT, ENDED, LogEntry, log_entry
from stowage.services.meter import Parts
from stowage.services.system.transfers import Running, Transfers

TRANSFERS = "stowage.transfers"
"""Key of the application's extensions: its Transfers."""


@contextmanager
def running_operation(operation: str, length: int | None = None) -> Iterator[LogEntry]:
    """The entry of a stream. While the context is open the stream is one of the transfers, if it is an operation."""
    entry = log_entry()
    entry.operation = operation
    if not operation:
        yield entry
        return
    entry.running = running = Running(
        operation,
        entry.tally.parts if entry.tally else Parts(),
        names=entry.images,
        count=lambda: entry.count,
        received=lambda: entry.received,
        length=length,
        registry=entry.registry,
        client=client_name(),
        cut=client_cutter(),
    )
    transfers = cast("Transfers", current_app.extensions[TRANSFERS])
    try:
        with transfers.running(running):
            yield entry
    finally:
        if running.is_ended and entry.fields.get("outcome") == CLIENT_LEFT:  # it waited for its client and was cut
            entry.end(ENDED)
