"""What the pages show of images that other builders and tools make."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.oci import mediatypes
from tests.blueprints.page.pages import show
from tests.builders import Json, Layout, make_layer, on_platform, put_image


def other_platform() -> tuple[Layout, Json]:
    """An index of two platforms, of which only the one that this store does not prefer is present."""
    layout = Layout()
    config = {"Labels": {"arch": "arm"}}
    arm = layout.image([make_layer("arm", 9000)], platform="linux/arm64", config=config, created="2024-05-01T00:00:00Z")
    absent = Layout().image([make_layer("amd")])
    return layout, layout.index([on_platform(absent, "linux/amd64"), on_platform(arm, "linux/arm64")])


def test_an_image_is_shown_of_which_only_another_platform_is_stored(client: FlaskClient, engine: Engine) -> None:
    put_image(engine, "other:1", *other_platform())
    page = show(client, "/ui/images/other:1")
    assert "COPY layer0 /" in page and "linux/arm64" in page and "arch" in page and "2024-05-01" in page
    assert "1 image that matches has no layers of the platform" in show(client, "/ui/family?reference=other")


def test_an_artifact_shows_what_its_blobs_are(client: FlaskClient, engine: Engine) -> None:
    layout = Layout()
    config = layout.add_json({"name": "chart"}, "application/vnd.cncf.helm.config.v1+json")
    chart = layout.manifest(config, [layout.add(b"chart", "application/vnd.cncf.helm.chart.content.v1.tar+gzip")])
    put_image(engine, "chart:1", layout, chart)
    page = show(client, "/ui/images/chart:1")
    assert "application/vnd.cncf.helm.chart.content.v1.tar+gzip" in page and "not stored" not in page
    layout = Layout()
    put_image(engine, "empty:1", layout, layout.index([]))
    assert "It lists no images." in show(client, "/ui/images/empty:1")


def test_a_foreign_layer_is_said_not_to_be_stored(client: FlaskClient, engine: Engine) -> None:
    layout = Layout()
    image = layout.image([make_layer("one")], compression="none")
    manifest = json.loads(layout.blobs[image["digest"]])
    layer = manifest["layers"][0]
    manifest["layers"][0] = layer | {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "urls": ["https://example.com/layer"],
    }
    del layout.blobs[layer["digest"]]
    put_image(engine, "windows:1", layout, layout.add_json(manifest, mediatypes.OCI_MANIFEST))
    page = show(client, "/ui/images/windows:1")
    assert "COPY layer0 /" in page and "not stored: whoever unpacks the image" in page


@pytest.mark.parametrize("created", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"])
def test_a_date_that_stands_for_none_has_no_age(client: FlaskClient, engine: Engine, created: str) -> None:
    layout = Layout()
    put_image(engine, "ko:1", layout, layout.image([make_layer("ko")], created=created))
    assert "ago" not in show(client, "/ui/images")
    assert '<dd class="small"><span class="muted">unknown</span></dd>' in show(client, "/ui/images/ko:1")
    assert "Compare" in show(client, "/ui/difference?left=ko:1&previous=1")
