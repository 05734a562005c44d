"""GET /images/{name}/json at every version that changed it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import CREATED, Layout, put_image, simple_layout

CONFIG = {
    "User": "1000", "ExposedPorts": {"80/tcp": {}}, "Env": ["A=b"], "Entrypoint": ["/bin/sh"], "Cmd": ["-c", "true"],
    "Volumes": {"/data": {}}, "WorkingDir": "/app", "Labels": {"stage": "prod"}, "StopSignal": "SIGINT", "ArgsEscaped": True,
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000}, "OnBuild": ["RUN true"], "Shell": ["/bin/bash"],
}  # fmt: skip
ALWAYS = {"Id", "RepoTags", "RepoDigests", "Config", "Architecture", "Os", "Size", "RootFS", "Metadata"}
BEFORE_1_52 = ALWAYS | {"Parent", "Comment", "DockerVersion", "Author", "GraphDriver"}
BEFORE_1_45 = BEFORE_1_52 | {"Container", "ContainerConfig"}
EMPTY_CONFIG_1_51 = {
    "Cmd": None,
    "Entrypoint": None,
    "Env": None,
    "Labels": None,
    "OnBuild": None,
    "User": "",
    "Volumes": None,
    "WorkingDir": "",
}
CONTAINER_KEYS = {"AttachStderr", "AttachStdin", "AttachStdout", "Domainname", "Hostname", "Image", "OpenStdin", "StdinOnce", "Tty"}


def inspect(client: FlaskClient, version: str, name: str = "app:1", **query: str) -> dict[str, Any]:
    response = client.get(f"/v{version}/images/{name}/json", query_string=query)
    assert (response.status_code, response.content_type) == (200, "application/json")
    document: dict[str, Any] = response.get_json()
    return document


def test_an_answer_follows_its_image_at_every_version(engine: Engine, client: FlaskClient) -> None:
    for names in (["app:1"], ["app:1", "app:2"], ["app:1", "app:2", "app:3"]):
        put_image(engine, names[-1])
        for version in ("1.24", "1.45", "1.56"):
            assert [inspect(client, version)["RepoTags"] for _ in range(2)] == [names] * 2


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        pytest.param("1.24", BEFORE_1_45 | {"Created", "VirtualSize"}, id="1.24"),
        pytest.param("1.43", BEFORE_1_45 | {"Created", "VirtualSize"}, id="1.43"),
        pytest.param("1.44", BEFORE_1_45, id="1.44"),
        pytest.param("1.45", BEFORE_1_52, id="1.45"),
        pytest.param("1.47", BEFORE_1_52, id="1.47"),
        pytest.param("1.48", BEFORE_1_52 | {"Descriptor"}, id="1.48"),
        pytest.param("1.51", BEFORE_1_52 | {"Descriptor"}, id="1.51"),
        pytest.param("1.52", ALWAYS | {"Descriptor"}, id="1.52"),
        pytest.param("1.56", ALWAYS | {"Descriptor"}, id="1.56"),
    ],
)
def test_each_version_has_its_keys_for_an_image_that_tells_little(
    engine: Engine, client: FlaskClient, version: str, keys: set[str]
) -> None:
    put_image(engine, "app:1", simple_layout(created=None, history=None))
    image = inspect(client, version)
    assert set(image) == keys
    assert image.get("Created", "0001-01-01T00:00:00Z") == "0001-01-01T00:00:00Z"


def test_an_image_in_full(engine: Engine, client: FlaskClient) -> None:
    layout = simple_layout(config=CONFIG, author="me", platform="windows/arm64/v8", **{"os.version": "10.0.1"})
    digest = str(put_image(engine, "app:1", layout))
    image = inspect(client, "1.56")
    tagged = image.pop("Metadata")["LastTagTime"]
    assert tagged.startswith("20") and tagged.endswith("Z")
    assert image == {
        "Id": digest,
        "RepoTags": ["app:1"],
        "RepoDigests": [f"app@{digest}"],
        "Comment": "buildkit.dockerfile.v0",
        "Created": CREATED,
        "Author": "me",
        "Config": CONFIG,
        "Architecture": "arm64",
        "Variant": "v8",
        "Os": "windows",
        "OsVersion": "10.0.1",
        "Size": sum(map(len, layout.blobs.values())),
        "RootFS": {"Type": "layers", "Layers": image["RootFS"]["Layers"]},
        "Descriptor": {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": layout.manifests[0]["size"]},
    }
    assert len(image["RootFS"]["Layers"]) == 1


@pytest.mark.parametrize("version", ["1.24", "1.49", "1.50", "1.51", "1.52"])
def test_the_config_keeps_what_it_has_at_every_version(engine: Engine, client: FlaskClient, version: str) -> None:
    put_image(engine, "app:1", simple_layout(config=CONFIG))
    config = inspect(client, version)["Config"]
    assert {key: config[key] for key in CONFIG} == CONFIG


@pytest.mark.parametrize(
    ("version", "config"), [("1.50", EMPTY_CONFIG_1_51), ("1.51", EMPTY_CONFIG_1_51), ("1.52", {})], ids=["1.50", "1.51", "1.52"]
)
def test_an_empty_config_had_empty_fields_below_1_52(engine: Engine, client: FlaskClient, version: str, config: dict[str, object]) -> None:
    put_image(engine, "app:1")
    assert inspect(client, version)["Config"] == config


def test_an_empty_config_had_the_fields_of_a_container_below_1_50(engine: Engine, client: FlaskClient) -> None:
    put_image(engine, "app:1")
    config = inspect(client, "1.49")["Config"]
    assert set(config) == CONTAINER_KEYS | set(EMPTY_CONFIG_1_51)
    assert {config[key] for key in CONTAINER_KEYS} == {False, ""}


def test_old_versions_have_an_empty_container_and_driver(engine: Engine, client: FlaskClient) -> None:
    put_image(engine, "app:1")
    image = inspect(client, "1.44")
    assert (image["Container"], image["ContainerConfig"], image["Parent"], image["DockerVersion"]) == ("", None, "", "")
    assert image["GraphDriver"] == {"Data": None, "Name": "stowage"}


@pytest.mark.parametrize(("version", "told"), [("1.47", False), ("1.48", True)])
def test_manifests_are_told_from_1_48(engine: Engine, client: FlaskClient, version: str, told: bool) -> None:
    put_image(engine, "app:1")
    assert ("Manifests" in inspect(client, version, manifests="1")) is told


@pytest.mark.parametrize(("version", "told"), [("1.52", False), ("1.53", True), ("1.56", True)])
def test_the_identity_is_told_from_1_53(engine: Engine, client: FlaskClient, version: str, told: bool) -> None:
    digest = put_image(engine, "app:1")
    with engine.metadata.write() as tx:
        tx.sources.add([digest], registry="docker.io", repository="library/app")
    image = inspect(client, version, manifests="1")
    assert image.get("Identity") == ({"Pull": [{"Repository": "docker.io/library/app"}]} if told else None)
    assert "Identity" not in image["Manifests"][0]["ImageData"]


@pytest.mark.parametrize(("version", "architecture"), [("1.48", "amd64"), ("1.49", "arm64")])
def test_a_platform_is_chosen_from_1_49(engine: Engine, client: FlaskClient, version: str, architecture: str) -> None:
    layout = Layout()
    put_image(engine, "app:1", layout, layout.multi_platform())
    image = inspect(client, version, platform='{"os":"linux","architecture":"arm64"}')
    assert image["Architecture"] == architecture
    assert image["Id"] == image["Descriptor"]["digest"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        pytest.param(
            {"platform": "bad"}, 400, "failed to parse platform: invalid character 'b' looking for beginning of value", id="no JSON"
        ),
        pytest.param({"platform": '{"os":"linux"}'}, 400, "both OS and Architecture must be provided", id="half a platform"),
        pytest.param(
            {"platform": '{"os":"linux","architecture":"s390x"}'},
            404,
            "image with reference app:1 was found but does not provide the specified platform (linux/s390x)",
            id="not there",
        ),
        pytest.param(
            {"platform": '{"os":"linux","architecture":"amd64"}', "manifests": "1"},
            400,
            "conflicting options: manifests and platform options cannot both be set",
            id="both",
        ),
    ],
)
def test_wrong_options_are_refused(engine: Engine, client: FlaskClient, query: dict[str, str], status: int, words: str) -> None:
    put_image(engine, "app:1")
    response = client.get("/images/app:1/json", query_string=query)
    assert (response.status_code, response.get_json()) == (status, {"message": words})


def test_a_missing_image_is_404(client: FlaskClient) -> None:
    response = client.get("/images/host:5000/team/nope/json")
    assert (response.status_code, response.get_json()) == (404, {"message": "No such image: host:5000/team/nope:latest"})
