"""Where an image came from, as the docker CLI's pulls and pushes at Debian's docker-registry leave it known."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.builders import Layout
from tests.conformance.conftest import Service, needs, skopeo


@pytest.fixture
def service(emptied: Service) -> Service:
    return emptied


@pytest.fixture
def published(registry: str, tmp_path: Path) -> str:
    """An image for two platforms at the registry, with an attestation of each."""
    needs("docker")
    layout = Layout()
    layout.tag(layout.multi_platform(("linux/amd64", "linux/arm64")), "docker.io/library/source:1")
    archive = tmp_path / "source.tar"
    archive.write_bytes(layout.to_tar())
    name = f"{registry}/identity/app:1"
    skopeo("copy", "--quiet", "--all", "--dest-tls-verify=false", f"oci-archive:{archive}:1", f"docker://{name}")
    return name


def get(service: Service, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{service.port}{path}") as answer:
        return json.load(answer)


def told(service: Service, name: str, version: str = "1.56") -> Any:
    return get(service, f"/v{version}/images/{name}/json").get("Identity")


def pulled_from(*repositories: str) -> dict[str, object]:
    return {"Pull": [{"Repository": repository} for repository in repositories]}


def test_the_identity_is_where_the_content_was_pulled_from_and_pushed_to(service: Service, registry: str, published: str) -> None:
    app, copy = f"{registry}/identity/app", f"{registry}/identity/copy"
    for platform in ("linux/amd64", "linux/arm64"):
        service.docker("pull", "--quiet", "--platform", platform, published)
    assert [told(service, published, version) for version in ("1.52", "1.53", "1.56")] == [None, pulled_from(app), pulled_from(app)]

    service.docker("tag", published, f"{copy}:1")
    assert told(service, f"{copy}:1") == pulled_from(app)
    service.docker("push", "--quiet", f"{copy}:1")
    assert told(service, published) == told(service, f"{copy}:1") == pulled_from(app, copy)

    (image,) = get(service, "/v1.54/images/json?manifests=1&identity=1")
    shown = [(manifest["Kind"], manifest.get("ImageData", {}).get("Identity")) for manifest in image["Manifests"]]
    assert shown == [("image", pulled_from(app, copy))] * 2 + [("attestation", None)] * 2
    assert "Identity" not in json.dumps(get(service, "/v1.53/images/json?manifests=1&identity=1"))
    assert "Identity" not in json.dumps(get(service, "/v1.56/images/json?manifests=1"))


def test_the_identity_stays_over_a_load_and_goes_with_the_content(service: Service, registry: str, published: str) -> None:
    service.docker("pull", "--quiet", published)
    saved = service.docker("save", published).stdout
    service.docker("load", stdin=saved)
    assert told(service, published) == pulled_from(f"{registry}/identity/app")
    service.docker("rmi", published)
    service.docker("load", stdin=saved)
    assert told(service, published) is None
    service.docker("pull", "--quiet", published)
    assert told(service, published) == pulled_from(f"{registry}/identity/app")
