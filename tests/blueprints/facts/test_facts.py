"""GET /stowage/disk, /stowage/disk/freed, /stowage/layers and /stowage/family over HTTP."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.services.engine import Engine
from tests.builders import Layout, make_layer, put_image


@pytest.fixture
def ids(engine: Engine) -> dict[str, str]:
    """base:1, and app:1 and app:2 on it; their IDs."""
    found = {}
    for name, layers in {"base:1": ["base"], "app:1": ["base", "one"], "app:2": ["base", "two"]}.items():
        layout = Layout()
        raw = [make_layer(label, 9000) for label in layers]
        found[name] = str(put_image(engine, name, layout, layout.image(raw, compression="none")))
    return found


def ask(client: FlaskClient, path: str) -> Any:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json


def test_the_disk_adds_up(client: FlaskClient, ids: dict[str, str]) -> None:
    disk = ask(client, "/stowage/disk")
    blobs = sum(disk[part]["Size"] for part in ("Unique", "Shared", "Unneeded", "Leased", "Partial"))
    assert disk["Total"] == blobs + sum(disk["Derived"].values())
    assert (disk["Images"], disk["Dangling"], disk["Shared"]["Count"]) == (3, 0, 1)
    assert [(each["Images"], each["Example"]) for each in disk["SharedLayers"]] == [(3, "base:1")]
    assert [each["Repository"] for each in disk["Repositories"]] == ["docker.io/library/app", "docker.io/library/base"]
    assert sorted(each["Id"] for each in disk["LargestImages"]) == sorted(ids.values())
    for each in disk["LargestImages"]:
        assert each["Size"] == each["SharedSize"] + each["UniqueSize"]
    assert len(ask(client, "/stowage/disk?limit=1")["LargestImages"]) == 1


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "1.5"])
def test_a_limit_is_a_number_in_its_range(client: FlaskClient, limit: str) -> None:
    answer = client.get(f"/stowage/disk?limit={limit}")
    assert (answer.status_code, answer.json) == (400, {"message": "limit must be a number from 1 to 1000"})


def test_what_a_deletion_frees(client: FlaskClient, ids: dict[str, str]) -> None:
    one, both = ask(client, "/stowage/disk/freed?image=app:1"), ask(client, f"/stowage/disk/freed?image=app:1&image={ids['app:2']}")
    assert (one["Images"], both["Images"]) == ([ids["app:1"]], [ids["app:1"], ids["app:2"]])
    assert both["Freed"] > one["Freed"] > 9000 and both["Shared"] == one["Shared"] > 9000
    assert ask(client, "/stowage/disk/freed") == {"Images": [], "Freed": 0, "Shared": 0, "Leased": 0}
    assert client.get("/stowage/disk/freed?image=absent").json == {"message": "No such image: absent:latest"}


def test_who_has_a_layer(client: FlaskClient, ids: dict[str, str]) -> None:
    layer = ask(client, "/stowage/disk")["SharedLayers"][0]["Digest"]
    found = ask(client, f"/stowage/layers/{layer}?limit=2&page=2")
    assert (found["Count"], found["Images"]) == (3, [{"Id": ids["base:1"], "Name": "base:1"}])
    assert found["UncompressedSize"] == found["Size"] > 9000
    assert client.get(f"/stowage/layers/sha256:{'0' * 64}").status_code == 404
    assert client.get("/stowage/layers/nonsense").status_code == 400


def test_the_family(client: FlaskClient, ids: dict[str, str]) -> None:
    found = ask(client, "/stowage/family")
    assert [(each["Name"], each["Parent"], each["AddedLayers"]) for each in found] == [
        ("base:1", "", 1),
        ("app:1", ids["base:1"], 1),
        ("app:2", ids["base:1"], 1),
    ]
    assert [each["Name"] for each in ask(client, "/stowage/family?reference=app:2")] == ["base:1", "app:2"]


def test_a_family_of_too_many_images_is_refused(engine: Engine, ids: dict[str, str], tmp_path: Path) -> None:
    small = replace(engine, limits=replace(engine.limits, family_images=2))
    client = create_app(Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root")}), build=lambda _: small).test_client()
    for path in ("/stowage/family", "/ui/family", "/ui/family?of=base:1"):
        answer = client.get(path)
        assert answer.status_code == 403 and "more than 2 images" in answer.text and "STOWAGE_FAMILY_IMAGES" in answer.text


def test_images_with_the_same_layers_name_the_first_of_them(client: FlaskClient, engine: Engine, ids: dict[str, str]) -> None:
    layout = Layout()
    put_image(engine, "twin:1", layout, layout.image([make_layer("base", 9000)], compression="none", config={"User": "twin"}))
    found = {each["Name"]: each for each in ask(client, "/stowage/family")}
    assert (found["base:1"]["Same"], found["twin:1"]["Same"], found["app:1"]["Parent"]) == ("", ids["base:1"], ids["base:1"])
    assert found["twin:1"]["Id"] != ids["base:1"]


def test_the_facts_are_described(client: FlaskClient) -> None:
    paths = (client.get("/openapi.json").json or {})["paths"]
    for path in ("/stowage/disk", "/stowage/disk/freed", "/stowage/layers/{digest}", "/stowage/family"):
        assert paths[path]["get"]["servers"] == [{"url": "/"}]
