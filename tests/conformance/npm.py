"""Packages of npm for tests, which are skipped where it cannot install them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import needs
from tests.once import made_once

_SECONDS = 60


def install(package: str, factory: pytest.TempPathFactory) -> Path:
    """The node_modules folder with this package, installed once a run, without running its scripts."""
    needs("npm")
    return made_once(factory, package, lambda folder: _install(package, folder)) / "node_modules"


def _install(package: str, folder: Path) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--fetch-retries=0", package]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {package} within a minute")
    if done.returncode != 0:
        pytest.skip(f"npm could not install {package}: {done.stderr}")
