"""GET /ui/layers/{digest} and GET /stowage/layers/{digest}: which images have a layer."""

from __future__ import annotations

import re

from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.images.layers import read_layers
from tests.blueprints.page.pages import Ids, names, show


def test_who_has_a_layer(client: FlaskClient, engine: Engine, ids: Ids) -> None:
    layer = read_layers(engine, "base:1")[0].digest
    found = client.get(f"/stowage/layers/{layer}?limit=3&page=2").get_json()
    assert found["Count"] == 4 and len(found["Images"]) == 1
    pages = [client.get(f"/stowage/layers/{layer}?limit=1&page={number}").get_json()["Images"] for number in range(1, 5)]
    assert {each["Id"]: each["Name"] for (each,) in pages} == {image: name or "" for name, image in ids.items()}
    assert found["UncompressedSize"] == found["Size"] > 9000
    assert client.get(f"/stowage/layers/sha256:{'0' * 64}").status_code == 404
    assert client.get("/stowage/layers/nonsense").status_code == 400


def test_the_beginning_of_a_digest_leads_to_its_layer(client: FlaskClient, engine: Engine, ids: Ids) -> None:
    digest = read_layers(engine, "base:1")[0].digest
    assert client.get(f"/ui/layers/{digest.hex[:12]}").location == f"/ui/layers/{digest}"
    for text in (digest.hex[:7], "0123456789ab", "sha256:" + 64 * "0", "nonsense"):
        answer = client.get(f"/ui/layers/{text}")
        assert answer.status_code == 404 and f"there is no layer with the digest {text}" in answer.text


def test_what_is_no_layer_is_called_a_blob(client: FlaskClient, ids: Ids) -> None:
    page = show(client, f"/ui/layers/{ids['base:1']}")
    assert client.get(f"/ui/layers/{ids['base:1']}?page=9").location == f"/ui/layers/{ids['base:1']}?page=1"
    assert "<h1>Blob <code>" in page and "Images with this blob" in page


def test_a_layer_leads_to_its_images(client: FlaskClient, ids: Ids) -> None:
    page = show(client, "/ui/images/team/app:1")
    layer = re.findall(r'aria-label="Layer ([0-9a-f]+)"', page)[1]
    (layer,) = re.findall(rf'href="/ui/layers/(sha256:{layer}[0-9a-f]+)"', page)
    assert names(show(client, f"/ui/layers/{layer}")) == [ids["team/app:1"]]
    assert "more name" not in show(client, f"/ui/layers/{layer}")
    for tag in ("one", "two"):
        assert client.post(f"/images/team/app:1/tag?repo=team/app&tag={tag}").status_code == 201
    assert "and 2 more names" in show(client, f"/ui/layers/{layer}")
