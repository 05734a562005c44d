"""GET /images/{name}/history."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, make_layer, put_image, simple_layout


def test_steps_have_every_key_at_every_version(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    layers = [make_layer("one"), make_layer("two")]
    digest = str(put_image(engine, "team/app:1", layout, layout.image(layers)))
    steps = [
        {
            "Comment": "buildkit.dockerfile.v0",
            "Created": 1700000000,
            "CreatedBy": f"COPY layer{n} / # buildkit",
            "Id": step,
            "Size": len(layers[n]),
            "Tags": tags,
        }
        for n, step, tags in ((1, digest, ["team/app:1"]), (0, "<missing>", None))
    ]
    for version in ("1.24", "1.56"):
        response = client.get(f"/v{version}/images/team/app:1/history")
        assert (response.status_code, response.get_json()) == (200, steps)


def test_no_history_is_null(engine: Engine, client: FlaskClient) -> None:
    put_image(engine, "app", simple_layout(history=None))
    response = client.get("/images/app/history")
    assert (response.status_code, response.data) == (200, b"null\n")


@pytest.mark.parametrize(("version", "status"), [("1.47", 200), ("1.48", 404)])
def test_a_platform_is_chosen_from_1_48(engine: Engine, client: FlaskClient, version: str, status: int) -> None:
    put_image(engine, "app")
    response = client.get(f"/v{version}/images/app/history", query_string={"platform": '{"os":"linux","architecture":"s390x"}'})
    assert response.status_code == status


def test_more_steps_than_layers_are_500(engine: Engine, client: FlaskClient) -> None:
    put_image(engine, "app", simple_layout(history=[{"created_by": "one"}, {"created_by": "two"}]))
    response = client.get("/images/app/history")
    assert (response.status_code, response.get_json()) == (500, {"message": "unable to find the size of the layer"})
