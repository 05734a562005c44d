"""Work for an answer that is sent as a whole, which ends when the client leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from stowage.blueprints.client import Client, watched_client
from stowage.blueprints.log_entry import CLIENT_LEFT, log_entry
from stowage.services.errors import Disconnected
from stowage.services.registry.operations import Operation
from stowage.services.transfer.retry import awaited

_T = TypeVar("_T")


def while_connected(call: Callable[[], _T]) -> _T:
    """The result of a call that asks registries, in a thread of its own.

    If the client disconnects meanwhile, the call's requests end and Disconnected is raised.
    """
    client, waiting = watched_client(), awaited(call)
    while True:
        try:
            next(waiting)
        except StopIteration as done:
            return cast("_T", done.value)
        if client is not None and client.is_gone():
            waiting.close()
            log_entry().end(CLIENT_LEFT)
            raise Disconnected("the client has disconnected")


def while_wanted(call: Callable[[], _T]) -> _T:
    """The result of a call that computes, in this thread. If the client disconnects, the call's next check of its operation raises
    Disconnected. So the thread, and what the call holds, are free only when it has ended.
    """
    try:
        return _WantedOperation(watched_client()).run(call)
    except Disconnected:
        log_entry().end(CLIENT_LEFT)
        raise


class _WantedOperation(Operation):
    """An operation that ends when its client has disconnected."""

    def __init__(self, client: Client | None) -> None:
        super().__init__()
        self._client = client

    def check(self) -> None:
        super().check()
        if self._client is not None and self._client.is_gone():
            raise Disconnected("the client has disconnected")
