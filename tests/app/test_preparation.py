"""A store before it is served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from stowage.app.settings import Config
from stowage.app.wiring import prepare_store
from stowage.services.errors import Internal
from stowage.services.metadata.store import is_current, upgrade
from stowage.services.oci.platform import Platform
from tests.engines import metadata_store
from tests.listings import listed
from tests.rows import add_blobs, add_index, image_facts


def config(root: Path) -> Config:
    return Config.from_environ({"STOWAGE_ROOT": str(root)})


def test_a_new_store_is_made(tmp_path: Path) -> None:
    prepare_store(config(tmp_path / "root"))
    assert is_current(f"sqlite:///{tmp_path}/root/stowage.db", config(tmp_path / "root").platform)
    assert (tmp_path / "root").stat().st_mode & 0o777 == 0o700


def test_the_database_is_in_the_root_whatever_that_is_called(tmp_path: Path) -> None:
    prepare_store(config(tmp_path / "a?b%73#"))
    assert [path.name for path in tmp_path.iterdir()] == ["a?b%73#"]
    assert (tmp_path / "a?b%73#" / "stowage.db").stat().st_size


def test_a_database_that_cannot_be_migrated_is_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "stowage.db").write_bytes(b"no database" * 100)
    with pytest.raises(Internal, match="^metadata store: file is not a database$"):
        prepare_store(config(tmp_path / "root"))


def test_a_database_at_its_version_needs_no_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root").mkdir()
    upgrade(f"sqlite:///{tmp_path}/root/stowage.db", config(tmp_path / "root").platform)
    migrated: list[Config] = []
    monkeypatch.setattr("stowage.app.wiring._migrate", migrated.append)
    prepare_store(config(tmp_path / "root"))
    assert migrated == []


def test_a_service_on_another_platform_prefers_that_in_lists(tmp_path: Path) -> None:
    def serve(platform: str) -> list[str | None]:
        settings = Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root"), "STOWAGE_PLATFORM": platform})
        prepare_store(settings)
        return labels()

    def labels() -> list[str | None]:
        store = metadata_store(url)
        told = [target.labels for target in listed(store)]
        store.close()
        return told

    url = f"sqlite:///{tmp_path}/root/stowage.db"
    assert serve("linux/amd64") == []
    store = metadata_store(url)
    with store.write() as tx:
        for architecture in ("amd64", "arm64"):
            add_blobs(tx, [architecture, f"{architecture}.config"])
            platform = Platform("linux", architecture)
            tx.graph.add_manifest(replace(image_facts(architecture, []), platform=platform, labels={"of": architecture}), b"{}")
        add_index(tx, "index", ["amd64", "arm64"], name="docker.io/library/a:1")
    store.close()
    assert labels() == ['{"of":"amd64"}']
    assert serve("linux/arm64") == ['{"of":"arm64"}']
    upgrade(url, Platform("linux", "amd64"))
    assert labels() == ['{"of":"arm64"}'], "a command of another platform leaves lists as they are"
    assert serve("linux/amd64") == ['{"of":"amd64"}']
