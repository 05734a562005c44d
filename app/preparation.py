"""What any server does before it serves a store: hold its folders, and migrate its database to this version."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from stowage.holding import hold_folders, hold_place
from stowage.services.errors import EngineError, Internal
from stowage.services.metadata.store import is_current, upgrade
from stowage.settings import Config
from stowage.stopping import SIGNALS, die_silently, end_with_parent

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


def prepare_store(config: Config) -> None:
    """Hold the folders and migrate the database.

    Raises ConfigError if another service holds the folders, Internal if the migration fails, and Unavailable, Unsupported or
    InvalidParameter if the database cannot be used.
    """
    hold_folders(config)
    place = hold_place(config)
    if not is_current(config.database_url, config.platform, timeout=config.database_timeout, place=place):
        _migrate(config, place)


def _migrate(config: Config, place: str) -> None:
    """Migrate the database in a child process: what only the migration imports would stay in the memory of the service."""
    import multiprocessing

    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_upgrade, args=(config, place, os.getpid(), sender))
    unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until the child has its own handlers
    child.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
    sender.close()
    try:
        problem = receiver.recv()
    except EOFError:
        problem = "the migration of the database was ended"
    child.join()
    if problem:
        raise Internal(problem)


def _upgrade(config: Config, place: str, parent: int, sender: Connection) -> None:
    """Send what went wrong, or an empty text. Ends with the service: a migration that is cut has changed nothing."""
    die_silently()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    end_with_parent(parent, signal.SIGKILL)
    try:
        upgrade(config.database_url, config.platform, timeout=config.database_timeout, place=place, change_platform=True)
    except EngineError as exc:
        sender.send(str(exc))
    else:
        sender.send("")
