"""The application, over a real engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.services.engine import Engine


@pytest.fixture
def app(engine: Engine, tmp_path: Path) -> Flask:
    """The application over the test's own engine, with default settings."""
    return create_app(Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root")}), build=lambda _: engine)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def held() -> Iterator[ExitStack]:
    """Connections that are closed when the test ends, before the worker."""
    with ExitStack() as connections_:
        yield connections_
