"""GET /images/json at every version that changed it."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, partial_layout, put_image, simple_layout

COMMON = {"Containers", "Created", "Id", "Labels", "ParentId", "RepoDigests", "RepoTags", "SharedSize", "Size"}


@pytest.mark.parametrize("version", ["1.24", "1.43", "1.56"])
def test_an_empty_store_is_an_empty_list(client: FlaskClient, version: str) -> None:
    response = client.get(f"/v{version}/images/json")
    assert (response.status_code, response.data, response.content_type) == (200, b"[]\n", "application/json")


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        pytest.param("1.24", COMMON | {"VirtualSize"}, id="1.24"),
        pytest.param("1.43", COMMON | {"VirtualSize"}, id="1.43"),
        pytest.param("1.44", COMMON, id="1.44"),
        pytest.param("1.47", COMMON, id="1.47"),
        pytest.param("1.48", COMMON | {"Descriptor"}, id="1.48"),
        pytest.param("1.56", COMMON | {"Descriptor"}, id="1.56"),
    ],
)
def test_each_version_has_its_keys(engine: Engine, client: FlaskClient, version: str, keys: set[str]) -> None:
    put_image(engine, "app:1")
    (image,) = client.get(f"/v{version}/images/json").get_json()
    assert set(image) == keys
    assert image.get("VirtualSize", image["Size"]) == image["Size"]


def test_an_image_in_full(engine: Engine, client: FlaskClient) -> None:
    layout = simple_layout(config={"Labels": {"stage": "prod"}})
    digest = str(put_image(engine, "app:1", layout))
    (image,) = client.get("/images/json").get_json()
    assert image == {
        "Containers": 0,
        "Created": 1700000000,
        "Id": digest,
        "Labels": {"stage": "prod"},
        "ParentId": "",
        "Descriptor": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": layout.manifests[0]["size"]},
        "RepoDigests": [f"app@{digest}"],
        "RepoTags": ["app:1"],
        "SharedSize": -1,
        "Size": sum(map(len, layout.blobs.values())),
    }


@pytest.mark.parametrize(("version", "containers"), [("1.50", -1), ("1.51", 0)])
def test_containers_are_counted_from_1_51(engine: Engine, client: FlaskClient, version: str, containers: int) -> None:
    put_image(engine, "app:1")
    assert client.get(f"/v{version}/images/json").get_json()[0]["Containers"] == containers


@pytest.mark.parametrize(("version", "names"), [("1.42", (["<none>:<none>"], ["<none>@<none>"])), ("1.43", ([], []))], ids=["1.42", "1.43"])
def test_an_image_without_names_says_so_below_1_43(
    engine: Engine, client: FlaskClient, version: str, names: tuple[list[str], list[str]]
) -> None:
    put_image(engine, None)
    (image,) = client.get(f"/v{version}/images/json").get_json()
    assert (image["RepoTags"], image["RepoDigests"]) == names


def test_a_chart_without_names_has_no_list_of_tags_below_1_43(engine: Engine, client: FlaskClient) -> None:
    layout = Layout()
    digest = put_image(engine, None, layout, layout.chart())
    old, new = (client.get(f"/v{version}/images/json").get_json()[0] for version in ("1.42", "1.43"))
    assert (old["RepoTags"], old["RepoDigests"], old["Labels"]) == (None, [str(digest)], None)
    assert (new["RepoTags"], new["RepoDigests"]) == ([], [str(digest)])


@pytest.mark.parametrize(("version", "told"), [("1.46", False), ("1.47", True)])
def test_manifests_are_told_from_1_47(engine: Engine, client: FlaskClient, version: str, told: bool) -> None:
    layout = Layout()
    put_image(engine, "multi", layout, layout.multi_platform(("linux/amd64",)))
    (image,) = client.get(f"/v{version}/images/json?manifests=1").get_json()
    assert ("Manifests" in image) is told
    if told:
        amd64, attestation = image["Manifests"]
        assert set(amd64) == {"ID", "Descriptor", "Available", "Size", "Kind", "ImageData"}
        assert amd64["ImageData"] == {"Platform": {"architecture": "amd64", "os": "linux"}, "Size": {"Unpacked": 0}, "Containers": None}
        assert amd64["Size"] == {"Content": amd64["Size"]["Total"], "Total": amd64["Size"]["Content"]}
        assert (attestation["Kind"], attestation["AttestationData"]) == ("attestation", {"For": amd64["ID"]})


@pytest.mark.parametrize(("version", "asked"), [("1.41", False), ("1.42", True)])
def test_shared_sizes_are_computed_from_1_42(engine: Engine, client: FlaskClient, version: str, asked: bool) -> None:
    put_image(engine, "app:1")
    assert client.get(f"/v{version}/images/json?shared-size=1").get_json()[0]["SharedSize"] == (0 if asked else -1)


@pytest.mark.parametrize(
    ("version", "query", "count"),
    [
        pytest.param("1.24", "filter=app", 1, id="1.24"),
        pytest.param("1.40", "filter=app", 1, id="1.40"),
        pytest.param("1.41", "filter=app", 2, id="gone in 1.41"),
        pytest.param("1.40", 'filter=app&filters={"reference":["other"]}', 2, id="beside the new one"),
        pytest.param("1.41", 'filter=app&filters={"reference":["other"]}', 1, id="gone beside the new one"),
        pytest.param("1.40", "filter=", 2, id="empty"),
    ],
)
def test_the_old_filter_works_below_1_41(engine: Engine, client: FlaskClient, version: str, query: str, count: int) -> None:
    put_image(engine, "app:1")
    put_image(engine, "other:1", simple_layout(label="other"))
    assert len(client.get(f"/v{version}/images/json?{query}").get_json()) == count


@pytest.mark.parametrize(
    ("version", "query", "status"), [("1.53", "identity=1", 200), ("1.54", "identity=1", 400), ("1.54", "identity=1&manifests=1", 200)]
)
def test_identities_are_told_of_manifests_only(client: FlaskClient, version: str, query: str, status: int) -> None:
    response = client.get(f"/v{version}/images/json?{query}")
    assert response.status_code == status
    if status == 400:
        assert response.get_json() == {"message": "conflicting options: identity requires manifests=1"}


@pytest.mark.parametrize(
    ("version", "query", "told"),
    [
        pytest.param("1.53", "manifests=1&identity=1", False, id="1.53"),
        pytest.param("1.54", "manifests=1&identity=1", True, id="1.54"),
        pytest.param("1.56", "manifests=1&identity=1&shared-size=1", True, id="1.56"),
        pytest.param("1.56", "manifests=1", False, id="not asked"),
    ],
)
def test_every_image_manifest_that_is_here_tells_the_identity_of_its_image(
    engine: Engine, client: FlaskClient, version: str, query: str, told: bool
) -> None:
    layout = partial_layout()
    known = put_image(engine, "known", layout, {**layout.manifests[0], "annotations": {}})
    put_image(engine, "unknown")
    with engine.metadata.write() as tx:
        tx.sources.add([known], registry="docker.io", repository="library/known")
    images = {image["RepoTags"][0]: image for image in client.get(f"/v{version}/images/json?{query}").get_json()}
    identities = [
        (manifest["Kind"], manifest["Available"], manifest.get("ImageData", {}).get("Identity", "untold"))
        for name in ("known:latest", "unknown:latest")
        for manifest in images[name]["Manifests"]
    ]
    identity = {"Pull": [{"Repository": "docker.io/library/known"}]} if told else "untold"
    assert identities == [
        ("image", True, identity),
        ("image", False, "untold"),
        ("attestation", True, "untold"),
        ("attestation", False, "untold"),
        ("image", True, "untold"),
    ]
    assert not [image for image in images.values() if "Identity" in image]


@pytest.mark.parametrize("filters", ["{", "[]", '{"dangling":"true"}', '{"nosuch":["x"]}'])
def test_filters_without_sense_are_400(client: FlaskClient, filters: str) -> None:
    response = client.get("/images/json", query_string={"filters": filters})
    assert response.status_code == 400
    assert response.get_json()["message"].startswith("invalid filter")
