"""A store before it is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from stowage.preparation import prepare_store
from stowage.services.errors import Internal
from stowage.services.metadata.store import is_current, upgrade
from stowage.settings import Config


def config(root: Path) -> Config:
    return Config.from_environ({"STOWAGE_ROOT": str(root)})


def test_a_new_store_is_made(tmp_path: Path) -> None:
    prepare_store(config(tmp_path / "root"))
    assert is_current(f"sqlite:///{tmp_path}/root/stowage.db")
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700


def test_a_database_that_cannot_be_migrated_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "stowage.db").write_bytes(b"no database" * 100)
    with pytest.raises(Internal, match="^metadata store: file is not a database$"):
        prepare_store(config(tmp_path / "root"))


def test_a_database_at_its_version_needs_no_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    upgrade(f"sqlite:///{tmp_path}/root/stowage.db")
    migrated: list[Config] = []
    monkeypatch.setattr("stowage.preparation._migrate", migrated.append)
    prepare_store(config(tmp_path / "root"))
    assert migrated == []
