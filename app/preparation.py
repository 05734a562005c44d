"""What any server does before it serves a store: hold its folders, and migrate its database to this version."""

from __future__ import annotations

import os
import subprocess
import sys

from stowage.holding import hold_folders
from stowage.services.errors import Internal
from stowage.services.metadata.store import is_current
from stowage.settings import Config


def prepare_store(config: Config) -> None:
    """Hold the folders and migrate the database.

    Raises ConfigError if another service holds the folders, and Internal if the migration fails.
    """
    hold_folders(config)
    if not is_current(config.database_url):
        _migrate(config)


def _migrate(config: Config) -> None:
    """Migrate the database in a separate process: what only the migration needs would stay in the memory of the service."""
    environment = {**os.environ, "STOWAGE_ROOT": str(config.root), "STOWAGE_DATABASE_URL": config.database_url}
    command = [sys.executable, "-P", "-m", "stowage.cli", "db", "upgrade"]
    done = subprocess.run(command, env=environment, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise Internal(done.stderr.strip().removeprefix("stowage: "))
