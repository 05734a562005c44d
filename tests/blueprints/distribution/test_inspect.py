"""GET /distribution/{name}/json."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from services.oci import mediatypes
from tests.builders import Layout, make_layer
from tests.fake_registry import FakeRegistry, Fault


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().serve() as running:
        yield running


@pytest.mark.parametrize("prefix", ["", "/v1.30", "/v1.56"])
def test_a_target_and_its_platforms_are_told(client: FlaskClient, registry: FakeRegistry, prefix: str) -> None:
    layout = Layout()
    image = layout.image([make_layer()], platform="linux/arm64/v8")
    name = registry.publish(layout, image)
    response = client.get(f"{prefix}/distribution/{name}:1/json")
    platform = '{"architecture":"arm64","os":"linux","variant":"v8"}'
    descriptor = f'{{"mediaType":"{image["mediaType"]}","digest":"{image["digest"]}","size":{image["size"]}}}'
    assert response.content_type == "application/json"
    assert response.data.decode() == f'{{"Descriptor":{descriptor},"Platforms":[{platform}]}}\n'


def test_no_platform_is_null(client: FlaskClient, registry: FakeRegistry) -> None:
    layout = Layout()
    name = registry.publish(layout, layout.index([]))
    response = client.get(f"/distribution/{name}:1/json")
    assert response.get_json()["Platforms"] is None
    assert response.get_json()["Descriptor"]["mediaType"] == mediatypes.OCI_INDEX


def test_credentials_go_to_the_registry(client: FlaskClient) -> None:
    layout = Layout()
    with FakeRegistry(auth="basic", user="alice:secret").serve() as registry:
        name = registry.publish(layout, layout.image([make_layer()]))
        auth = base64.urlsafe_b64encode(json.dumps({"username": "alice", "password": "secret"}).encode()).decode()
        assert client.get(f"/distribution/{name}:1/json", headers={"X-Registry-Auth": auth}).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        (Fault.ABSENT, 404),
        (Fault.UNAUTHORIZED, 401),
        (Fault.FORBIDDEN, 403),
        (Fault.TOO_MANY_REQUESTS, 429),
        (Fault.BROKEN, 500),
        (Fault.HTML, 400),
    ],
)
def test_what_a_registry_says_is_a_status(client: FlaskClient, registry: FakeRegistry, fault: Fault, status: int) -> None:
    layout = Layout()
    name = registry.publish(layout, layout.image([make_layer()]))
    registry.faults = {"1": fault}
    assert client.get(f"/distribution/{name}:1/json").status_code == status


@pytest.mark.parametrize(("name", "status"), [("UPPER", 400), ("scratch", 400), ("a" * 64, 500)])
def test_a_name_that_cannot_be_pulled_is_refused(client: FlaskClient, name: str, status: int) -> None:
    assert client.get(f"/distribution/{name}/json").status_code == status


def test_the_route_is_younger_than_1_29(client: FlaskClient) -> None:
    response = client.get("/v1.29/distribution/app/json")
    assert (response.status_code, response.get_json()) == (
        400,
        {"message": "GET /distribution/{name:.*}/json requires minimum API version 1.30"},
    )
