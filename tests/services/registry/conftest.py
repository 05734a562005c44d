"""Fixtures of the registry client."""

from __future__ import annotations

import pytest

from tests.builders import Layout, simple_layout


@pytest.fixture
def layout() -> Layout:
    return simple_layout()
