"""Backups as docs/durability.md describes them: what was copied is what is there after it went back."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.builders import make_layer
from tests.conformance.conftest import Service
from tests.ports import free_port


def import_image(service: Service, name: str) -> None:
    service.docker("import", "-", name, stdin=make_layer(name))


def images(service: Service) -> list[str]:
    listed = service.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode()
    return sorted(listed.split())


def test_a_service_that_was_stopped_leaves_its_database_in_one_file(service: Service, tmp_path: Path) -> None:
    import_image(service, "one:1")
    service.stop()
    copy = Service(tmp_path / "copy", free_port())
    copy.root.mkdir()
    for name in ("blobs", "ingest", "locks"):
        shutil.copytree(service.root / name, copy.root / name)
    for name in ("stowage.db", "store-id"):
        shutil.copy(service.root / name, copy.root / name)
    copy.start()
    try:
        assert images(copy) == ["one:1"]
        assert copy.run("verify").stdout == "every image is whole\n"
    finally:
        copy.stop()


def test_a_copy_of_the_database_goes_back_over_that_of_a_service_that_was_stopped(service: Service, tmp_path: Path) -> None:
    import_image(service, "kept:1")
    with closing(sqlite3.connect(service.root / "stowage.db")) as source, closing(sqlite3.connect(tmp_path / "backup.db")) as backup:
        source.backup(backup)
    service.docker("rmi", "kept:1")
    import_image(service, "later:1")
    service.stop()
    shutil.copy(tmp_path / "backup.db", service.root / "stowage.db")
    service.start()
    assert images(service) == ["kept:1"]
