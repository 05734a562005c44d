"""GET /info."""

from dataclasses import replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.services.engine import Engine


def test_info_says_that_nothing_runs(client: FlaskClient) -> None:
    info = client.get("/info").get_json()
    assert {key: info[key] for key in ("Containers", "Images", "OSType", "Runtimes")} == {
        "Containers": 0,
        "Images": 0,
        "OSType": "linux",
        "Runtimes": {},
    }
    assert info["Warnings"] == ["WARNING: Stowage is an image-only engine: it cannot run containers"]
    assert ["driver-type", "io.containerd.snapshotter.v1"] in info["DriverStatus"]
    assert info["Swarm"]["LocalNodeState"] == "inactive"


@pytest.mark.parametrize(
    ("version", "fields"),
    [
        pytest.param("1.46", {"BridgeNfIptables": True, "Expected": True, "AllowNondistributableArtifactsCIDRs": True}, id="1.46"),
        pytest.param("1.47", {"BridgeNfIptables": True, "Expected": True, "AllowNondistributableArtifactsCIDRs": False}, id="1.47"),
        pytest.param("1.49", {"BridgeNfIptables": True, "Expected": False, "AllowNondistributableArtifactsCIDRs": False}, id="1.49"),
        pytest.param("1.50", {"BridgeNfIptables": False, "Expected": False, "AllowNondistributableArtifactsCIDRs": False}, id="1.50"),
    ],
)
def test_old_versions_have_the_fields_that_later_ones_dropped(client: FlaskClient, version: str, fields: dict[str, bool]) -> None:
    info = client.get(f"/v{version}/info").get_json()
    assert {
        "BridgeNfIptables": "BridgeNfIptables" in info,
        "Expected": "Expected" in info["RuncCommit"],
        "AllowNondistributableArtifactsCIDRs": "AllowNondistributableArtifactsCIDRs" in info["RegistryConfig"],
    } == fields


def test_little_free_space_is_a_warning(engine: Engine, tmp_path: Path) -> None:
    config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root")})
    scarce = replace(engine, limits=replace(engine.limits, least_free=1 << 60))
    warnings = create_app(config, build=lambda _: scarce).test_client().get("/info").get_json()["Warnings"]
    assert len(warnings) == 2
    assert warnings[1].startswith("WARNING: The content store has little space: ")


def test_an_unknown_free_space_is_no_warning(client: FlaskClient, tmp_path: Path) -> None:
    (tmp_path / "root" / "blobs").rmdir()
    assert len(client.get("/info").get_json()["Warnings"]) == 1
