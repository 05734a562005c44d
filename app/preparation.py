"""What any server does before it serves a store: hold its folders, and migrate its database to this version."""

from __future__ import annotations

from stowage.app.child import run_in_child
from stowage.app.holding import hold_folders, hold_place
from stowage.app.settings import Config
from stowage.services.errors import Internal
from stowage.services.metadata.store import is_current, upgrade


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
    """Migrate the database in a child process: what only the migration imports would stay in the memory of the service.

    The child ends with the service: a migration that is cut has changed nothing.
    """

    def work() -> None:
        upgrade(config.database_url, config.platform, timeout=config.database_timeout, place=place, change_platform=True)

    if problem := run_in_child(work, ended="the migration of the database was ended"):
        raise Internal(problem)
