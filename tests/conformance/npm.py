"""Packages of npm for tests, which are skipped where it cannot install them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.conformance.conftest import needs

_SECONDS = 60


def install(package: str, folder: Path) -> Path:
    """The node_modules folder with this package, without running its scripts."""
    needs("npm")
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--fetch-retries=0", package]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        pytest.skip(f"npm did not install {package} within a minute")
    if done.returncode != 0:
        pytest.skip(f"npm could not install {package}: {done.stderr}")
    return folder / "node_modules"
