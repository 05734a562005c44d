"""Stowage as people install it: packages built from a copy of this tree, and services of what was installed, in folders of others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conformance.conftest import REPOSITORY, Service, listens, wait_for

UNREACHABLE = "Retrying (Retry("
"""What pip says when a connection to the index fails."""

OTHER_PROJECT = ("app", "blueprints", "services", "wsgi")
_LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "var", "dist", "build", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis")


def run(*command: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Run an installer or a builder. Where the package index cannot be reached, the test is skipped."""
    everything = {**os.environ, **(environment or {})}
    done = subprocess.run(command, cwd=cwd, env=everything, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=800)
    if done.returncode != 0 and UNREACHABLE in done.stdout:
        pytest.skip(f"the package index cannot be reached: {done.stdout[-300:]}")
    assert done.returncode == 0, done.stdout
    return done.stdout


def copy_tree(folder: Path) -> Path:
    """A clone of the repository as it is now, in which builds may leave what they like."""
    return Path(shutil.copytree(REPOSITORY, folder, ignore=_LEFT_OUT))


def make_other_project(folder: Path) -> Path:
    """A folder of somebody's own modules that have the names of this repository's folders, and that nobody should import."""
    for name in OTHER_PROJECT:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(f"raise ImportError('{name} of another project was imported')\n")
    return folder


@dataclass
class Installed(Service):
    """A service that `command` starts in `folder`, on a socket and a port."""

    command: Sequence[str] = ()
    folder: Path = Path("/")

    def start(self) -> None:
        self.root.mkdir(parents=True)
        settings = {"STOWAGE_ROOT": str(self.root), "STOWAGE_BIND": f"unix:{self.socket},127.0.0.1:{self.port}", **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.folder, env={**os.environ, **settings}, stdout=log, stderr=log, start_new_session=True
            )
        try:
            wait_for(lambda: listens(self.port), self.process, f"{self.command[0]} (log: {self.log})")
        except BaseException:
            self.kill()
            raise


def serves_docker(service: Installed, archive: bytes) -> None:
    """Assert that a docker CLI loads an image, lists it and saves it."""
    service.start()
    try:
        assert service.docker("load", stdin=archive).stdout == b"Loaded image: simple:latest\n"
        assert service.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout == b"simple:latest\n"
        assert b"manifest.json" in service.docker("save", "simple:latest").stdout
    finally:
        service.stop()
