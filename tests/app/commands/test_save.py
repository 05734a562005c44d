"""Where an archive goes: a file that appears when it is whole, or standard output."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stowage.app.commands.save import open_output
from stowage.services.errors import EngineError


def write(path: Path, *, cut: bool = False) -> None:
    with open_output(path) as output:
        output.write(b"whole")
        if cut:
            raise KeyboardInterrupt


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(b"before")
    with open_output(path) as output:
        output.write(b"who")
        output.flush()
        assert path.read_bytes() == b"before"
        output.write(b"le")
    assert path.read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["images.tar"]


def test_what_is_cut_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "images.tar"
    path.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write(path, cut=True)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["images.tar"]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    link = tmp_path / "images.tar"
    link.symlink_to(tmp_path / "disk" / "images.tar")
    write(link)
    assert link.is_symlink()
    assert link.read_bytes() == b"whole"


def test_a_device_is_written_to(tmp_path: Path) -> None:
    write(Path("/dev/null"))
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("name", ["absent/images.tar", "."])
def test_what_cannot_be_written_is_reported(tmp_path: Path, name: str) -> None:
    with pytest.raises(EngineError, match="cannot write .*: (No such file or directory|Is a directory)."):
        write(tmp_path / name)


def test_a_full_disk_is_reported() -> None:
    with pytest.raises(EngineError, match="cannot write /dev/full: No space left on device."):
        write(Path("/dev/full"))


def test_a_reader_that_has_gone_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as stdout:
        monkeypatch.setattr("sys.stdout", stdout)
        with pytest.raises(EngineError, match="cannot write to standard output: Broken pipe."), open_output(None) as output:
            output.write(b"whole")
        monkeypatch.undo()
