"""`stowage completion`: scripts that shells accept and that know the commands."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from stowage.app.cli import main


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_one_of_its_shell_and_knows_the_commands(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("serve", "verify", "--deep", "--root", "--bind"):
        assert word.removeprefix("--") in script
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    typed = """
complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _shtab_stowage; echo "${COMPREPLY[*]}"; }
complete_words stowage ver
complete_words stowage verify --d
"""
    done = subprocess.run(["bash", "-c", script + typed], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["verify", "--deep"]


def test_bash_completes_names_of_files_and_folders(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images.tar").touch()
    (tmp_path / "root").mkdir()
    assert main(["completion", "bash"]) == 0
    script = capsys.readouterr().out
    typed = """
complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _shtab_stowage; echo "${COMPREPLY[*]}"; }
complete_words stowage save --since im
complete_words stowage save -o im
complete_words stowage run --log im
complete_words stowage verify --root r
complete_words stowage db upgrade --root r
"""
    done = subprocess.run(["bash", "-c", script + typed], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert [set(line.split()) for line in done.stdout.splitlines()] == [{"images.tar"}] * 3 + [{"root"}] * 2


def test_no_setting_needs_to_be_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_WORKERS", "none")
    assert main(["completion", "bash"]) == 0
