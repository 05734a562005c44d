"""A store whose pages are looked at: two applications on a base, and an image without a name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.services.engine import Engine
from tests.builders import Layout, make_layer, put_image

ClientWith = Callable[..., FlaskClient]
IMAGES = {"base:1": ["base"], "team/app:1": ["base", "one"], "team/app:2": ["base", "two"], None: ["base", "nameless"]}


@pytest.fixture
def ids(engine: Engine) -> dict[str | None, str]:
    """The IDs of the images by name."""
    found = {}
    for number, (name, layers) in enumerate(IMAGES.items()):
        layout = Layout()
        raw = [make_layer(label, 9000 + 11_000 * (number if label != "base" else 0)) for label in layers]
        config = {"Labels": {"number": str(number)}, "Env": ["A=1"], "Entrypoint": ["/app"], "User": "nobody"}
        image = layout.image(raw, compression="none", config=config, created=f"202{number}-01-01T00:00:00Z")
        found[name] = str(put_image(engine, name, layout, image))
    return found


@pytest.fixture
def client_with(engine: Engine, tmp_path: Path) -> ClientWith:
    """Returns a client of an application with these settings."""

    def make(**settings: str) -> FlaskClient:
        config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root"), **settings})
        return create_app(config, build=lambda _: engine).test_client()

    return make


@pytest.fixture
def writer(client_with: ClientWith) -> FlaskClient:
    """A client of a page that may change the store."""
    return client_with(STOWAGE_UI="write")
