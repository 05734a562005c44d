"""Runs a function in a child process, so that its imports and its threads do not stay in the service."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from stowage.app.stopping import SIGNALS, die_silently, end_with_parent
from stowage.services.errors import EngineError

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def run_in_child(work: Callable[[], None], *, ended: str) -> str:
    """Do this in a child that ends with this process; returns what went wrong, `ended` if the child was ended, and otherwise nothing."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_work, args=(work, os.getpid(), sender))
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the child has its own handlers
    child.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    sender.close()
    try:
        problem: str = receiver.recv()
    except EOFError:
        problem = ended
    child.join()
    return problem


def _work(work: Callable[[], None], parent: int, sender: Connection) -> None:
    """Send what went wrong, or an empty text."""
    die_silently()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    end_with_parent(parent, signal.SIGKILL)
    try:
        work()
    except EngineError as exc:
        sender.send(str(exc))
    else:
        sender.send("")
