"""What any server does before it serves a store: hold its folders, and migrate its database to this version."""

from __future__ import annotations

import multiprocessing
from multiprocessing.connection import Connection

from stowage.holding import hold_folders
from stowage.services.errors import EngineError, Internal
from stowage.services.metadata.store import is_current, upgrade
from stowage.settings import Config


def prepare_store(config: Config) -> None:
    """Hold the folders and migrate the database.

    Raises ConfigError if another service holds the folders, and Internal if the migration fails.
    """
    hold_folders(config)
    if not is_current(config.database_url):
        _migrate(config)


def _migrate(config: Config) -> None:
    """Migrate the database in a child process: what only the migration imports would stay in the memory of the service."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_upgrade, args=(config.database_url, sender))
    child.start()
    sender.close()
    try:
        problem = receiver.recv()
    except EOFError:
        problem = "the migration of the database was ended"
    child.join()
    if problem:
        raise Internal(problem)


def _upgrade(url: str, sender: Connection) -> None:
    """Send what went wrong, or an empty text."""
    try:
        upgrade(url)
    except EngineError as exc:
        sender.send(str(exc))
    else:
        sender.send("")
