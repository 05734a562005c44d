"""Which modules run on which stores: their tests use the fixture `service`, or build one with the settings of the fixture `new_store`.

A module that is not listed runs on SQLite and a folder alone.
"""

from __future__ import annotations

EVERY = ("sqlite", "postgresql", "s3")
"""SQLite and a folder, PostgreSQL and a folder, PostgreSQL and a bucket."""
BOTH = ("sqlite", "s3")
DATABASES = ("sqlite", "postgresql")

STORES = {
    "test_crash": EVERY,
    "test_daemon_transport": BOTH,
    "test_docker_cli": EVERY,
    "test_docker_py": BOTH,
    "test_events": BOTH,
    "test_identity": BOTH,
    "test_kept_answers": DATABASES,
    "test_pull": BOTH,
    "test_push": BOTH,
    "test_recorded_answers": EVERY,
    "test_saved_platforms": BOTH,
    "test_transfers": BOTH,
}
