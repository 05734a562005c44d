"""GET /ui/family and GET /stowage/family: which images are built on which."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.services.engine import Engine
from tests.blueprints.page.pages import show
from tests.builders import Layout, make_layer, put_image


@pytest.fixture
def family(engine: Engine) -> dict[str, str]:
    """base:1, tools:1 on it, app:1 on that, and other:1 beside them; their IDs."""
    found = {}
    for name, layers in {"base:1": "a", "tools:1": "ab", "app:1": "abc", "other:1": "d"}.items():
        layout = Layout()
        found[name] = str(put_image(engine, name, layout, layout.image(map(make_layer, layers))))
    return found


def test_each_image_names_what_it_is_built_on(client: FlaskClient, engine: Engine, family: dict[str, str]) -> None:
    found = client.get("/stowage/family").get_json()
    assert [(each["Name"], each["Parent"], each["AddedLayers"]) for each in found] == [
        ("base:1", "", 1),
        ("tools:1", family["base:1"], 1),
        ("app:1", family["tools:1"], 1),
        ("other:1", "", 1),
    ]
    assert [each["Name"] for each in client.get("/stowage/family?reference=tools:1").get_json()] == ["base:1", "tools:1", "app:1"]
    layout = Layout()
    put_image(engine, "twin:1", layout, layout.image([make_layer("a")], config={"User": "twin"}))
    items = {each["Name"]: each for each in client.get("/stowage/family").get_json()}
    assert (items["base:1"]["Same"], items["twin:1"]["Same"], items["tools:1"]["Parent"]) == ("", family["base:1"], family["base:1"])
    assert items["twin:1"]["Id"] != family["base:1"]


def test_a_family_of_too_many_images_is_refused(engine: Engine, family: dict[str, str], tmp_path: Path) -> None:
    small = replace(engine, limits=replace(engine.limits, family_images=2))
    client = create_app(Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root")}), build=lambda _: small).test_client()
    for path in ("/stowage/family", "/ui/family", "/ui/family?of=base:1"):
        answer = client.get(path)
        assert answer.status_code == 403 and "more than 2 images" in answer.text and "STOWAGE_FAMILY_IMAGES" in answer.text


def test_the_family_is_a_tree(client: FlaskClient, family: dict[str, str]) -> None:
    page = show(client, "/ui/family")
    depths = [page[: page.index(f">{name}<wbr>:1</bdi>")].count("<ul>") for name in ("base", "tools", "app")]
    assert depths == [1, 2, 3]
    assert "other:1" not in show(client, "/ui/family?reference=tools")
    of = show(client, "/ui/family?of=tools:1")
    assert of.index("Built on") < of.index("base<wbr>:1") < of.index("tools<wbr>:1") < of.index("app<wbr>:1")


def test_more_children_than_fit_are_a_link_away(client: FlaskClient, engine: Engine) -> None:
    for number in range(15):
        layout = Layout()
        put_image(engine, f"app:{number:02}", layout, layout.image([make_layer("base"), make_layer(str(number))]))
    layout = Layout()
    put_image(engine, "base:1", layout, layout.image([make_layer("base")]))
    assert "and 3 more" in show(client, "/ui/family")
    assert "app:14" in show(client, "/ui/family?of=base:1")
