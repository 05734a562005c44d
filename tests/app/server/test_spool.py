"""Files of what clients have not accepted yet."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from stowage.app.server import spool
from stowage.app.server.spool import Space, Spool


def test_bytes_are_taken_in_the_order_in_which_they_were_added(tmp_path: Path) -> None:
    stored = Spool(Space(tmp_path))
    stored.add(b"one")
    assert stored.take(2) == b"on"
    stored.add(memoryview(b"two"))
    stored.add(b"")
    assert (len(stored), stored.take(9), stored.take(9)) == (4, b"etwo", b"")
    stored.add(bytearray(b"three"))
    assert stored.take(9) == b"three"


def test_the_file_has_no_name_and_is_its_users_alone(tmp_path: Path) -> None:
    stored = Spool(Space(tmp_path))
    stored.add(b"secret")
    assert stored._file is not None
    assert stat.S_IMODE(os.fstat(stored._file.fileno()).st_mode) == 0o600
    assert os.fstat(stored._file.fileno()).st_dev == tmp_path.stat().st_dev
    assert list(tmp_path.iterdir()) == []
    stored.close()


def test_space_is_taken_until_all_was_read_or_the_spool_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_CROWDED_BYTES", 5)
    monkeypatch.setattr(spool, "_MOST_BYTES", 9)
    space = Space(tmp_path)
    first, second = Spool(space), Spool(space)
    first.add(b"12345")
    first.take(4)
    assert not space.is_crowded
    second.add(b"6")
    assert space.is_crowded
    with pytest.raises(OSError, match="too much of the disk"):
        second.add(b"7890")
    first.take(1)
    second.add(b"78901234")
    second.close()
    first.add(b"123456789")
    first.close()
    first.close()


def test_a_spool_without_its_folder_takes_nothing(tmp_path: Path) -> None:
    stored = Spool(Space(tmp_path / "gone"))
    with pytest.raises(FileNotFoundError):
        stored.add(b"content")
    assert len(stored) == 0
