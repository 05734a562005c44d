"""An unmodified docker CLI on its unix socket, from import to prune, on a real Debian root file system."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.conformance.conftest import Service, needs, skopeo


@pytest.fixture(scope="module", autouse=True)
def docker_cli() -> None:
    needs("docker")


@pytest.fixture
def service(emptied: Service) -> Service:
    return emptied


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small Debian root file system as an uncompressed tar."""
    needs("mmdebstrap")
    path = tmp_path_factory.mktemp("rootfs") / "rootfs.tar"
    done = subprocess.run(
        ["mmdebstrap", "--mode=root", "--variant=extract", "--include=base-files", "trixie", str(path)], capture_output=True, timeout=300
    )
    if done.returncode != 0:
        pytest.skip(f"mmdebstrap could not make a root file system here: {done.stderr.decode()[-300:]}")
    return path


def lines(output: bytes) -> list[str]:
    return output.decode().splitlines()


def image_id(service: Service, name: str) -> str:
    return service.docker("image", "inspect", "--format", "{{.Id}}", name).stdout.decode().strip()


def test_an_imported_root_file_system_survives_save_delete_and_load(service: Service, rootfs: Path, tmp_path: Path) -> None:
    imported = service.docker(
        "import",
        "--change",
        'CMD ["/bin/sh"]',
        "--change",
        "ENV LANG=C.UTF-8",
        "--change",
        "LABEL stage=test",
        "-m",
        "first",
        str(rootfs),
        "debian:imported",
    )
    identity = lines(imported.stdout)[-1]
    assert identity == image_id(service, "debian:imported")
    config = json.loads(service.docker("inspect", "debian:imported").stdout)[0]
    assert config["Config"]["Cmd"] == ["/bin/sh"]
    assert "LANG=C.UTF-8" in config["Config"]["Env"]
    assert config["Config"]["Labels"] == {"stage": "test"}
    assert config["Comment"] == "first"

    service.docker("tag", "debian:imported", "team/debian:v1")
    archive = tmp_path / "saved.tar"
    service.docker("save", "-o", str(archive), "debian:imported", "team/debian:v1")
    service.docker("rmi", "debian:imported", "team/debian:v1")
    assert lines(service.docker("images", "-q").stdout) == []
    loaded = service.docker("load", "-i", str(archive))
    assert set(lines(loaded.stdout)) == {"Loaded image: debian:imported", "Loaded image: team/debian:v1"}
    assert image_id(service, "debian:imported") == identity


def test_the_saved_archive_is_read_by_skopeo(service: Service, rootfs: Path, tmp_path: Path) -> None:
    service.docker("import", str(rootfs), "debian:imported")
    archive = tmp_path / "saved.tar"
    service.docker("save", "-o", str(archive), "debian:imported")

    skopeo("copy", f"docker-archive:{archive}", f"oci:{tmp_path}/from-docker-archive")
    skopeo("copy", f"oci-archive:{archive}", f"oci:{tmp_path}/from-oci-archive")

    copied = json.loads((tmp_path / "from-oci-archive" / "index.json").read_text())
    assert copied["manifests"][0]["digest"] == image_id(service, "debian:imported")


def test_images_are_listed_in_every_format(service: Service, rootfs: Path) -> None:
    service.docker("import", str(rootfs), "debian:one")
    service.docker("tag", "debian:one", "team/debian:two")
    identity = image_id(service, "debian:one")

    table = lines(service.docker("images").stdout)
    assert table[0].split()[:3] == ["REPOSITORY", "TAG", "IMAGE"]
    assert {tuple(row.split()[:3]) for row in table[1:]} == {("debian", "one", identity[7:19]), ("team/debian", "two", identity[7:19])}
    assert lines(service.docker("images", "--no-trunc", "-q").stdout) == [identity, identity]
    assert sorted(lines(service.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout)) == ["debian:one", "team/debian:two"]
    assert lines(service.docker("images", "--digests", "--format", "{{.Digest}}", "debian").stdout) == [identity]
    assert lines(service.docker("images", "--filter", "reference=team/*", "--format", "{{.Tag}}").stdout) == ["two"]
    rows = [json.loads(row) for row in lines(service.docker("images", "--format", "json").stdout)]
    assert {row["Tag"] for row in rows} == {"one", "two"}
    assert service.docker("image", "ls", "--tree", check=False).returncode in (0, 125)


def test_history_names_the_import(service: Service, rootfs: Path) -> None:
    service.docker("import", "-m", "from a test", str(rootfs), "debian:imported")

    history = lines(
        service.docker("history", "--no-trunc", "--format", "{{.ID}}|{{.Comment}}|{{.Size}}", "--human=false", "debian:imported").stdout
    )

    identity, comment, size = history[0].split("|")
    assert (identity, comment) == (image_id(service, "debian:imported"), "from a test")
    assert int(size) == rootfs.stat().st_size


def test_rmi_refuses_an_id_with_several_repositories(service: Service) -> None:
    service.docker("import", "-", "one:1", stdin=small_tar())
    service.docker("tag", "one:1", "two:1")
    identity = image_id(service, "one:1")

    refused = service.docker("rmi", identity, check=False)
    assert refused.returncode != 0
    assert b"image is referenced in multiple repositories" in refused.stderr
    removed = lines(service.docker("rmi", "-f", identity).stdout)
    assert removed == ["Untagged: one:1", "Untagged: two:1", f"Deleted: {identity}"]


def test_prune_frees_what_a_retag_left_dangling(service: Service) -> None:
    service.docker("import", "-", "app:1", stdin=small_tar(b"old"))
    old = image_id(service, "app:1")
    service.docker("import", "-", "app:1", stdin=small_tar(b"new"))
    assert lines(service.docker("images", "-q", "--no-trunc", "--filter", "dangling=true").stdout) == [old]

    pruned = lines(service.docker("image", "prune", "-f").stdout)
    assert f"deleted: {old}" in [row.lower() for row in pruned]
    assert lines(service.docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout) == ["app:1"]

    service.docker("image", "prune", "-a", "-f")
    assert lines(service.docker("images", "-q").stdout) == []
    assert not [path for path in (service.root / "blobs").rglob("*") if path.is_file()]


def test_an_image_is_pulled_by_tag_and_by_digest(service: Service, registry: str, tmp_path: Path) -> None:
    service.docker("import", "-", "app:1", stdin=small_tar())
    service.docker("save", "-o", str(tmp_path / "app.tar"), "app:1")
    skopeo("copy", "--dest-tls-verify=false", f"oci-archive:{tmp_path}/app.tar", f"docker://{registry}/team/app:1")
    identity = image_id(service, "app:1")
    service.docker("rmi", "app:1")

    pulled = lines(service.docker("pull", f"{registry}/team/app:1").stdout)
    assert f"Digest: {identity}" in pulled
    assert f"Status: Downloaded newer image for {registry}/team/app:1" in pulled
    again = lines(service.docker("pull", f"{registry}/team/app:1").stdout)
    assert f"Status: Image is up to date for {registry}/team/app:1" in again
    service.docker("rmi", f"{registry}/team/app:1")

    service.docker("pull", f"{registry}/team/app@{identity}")
    assert image_id(service, f"{registry}/team/app@{identity}") == identity


def test_a_missing_image_is_reported_in_dockers_words(service: Service) -> None:
    refused = service.docker("rmi", "nosuch", check=False)

    assert refused.returncode == 1
    assert b"No such image: nosuch:latest" in refused.stderr


def test_version_and_info_are_answered(service: Service) -> None:
    version = json.loads(service.docker("version", "--format", "json").stdout)
    assert version["Server"]["ApiVersion"] == "1.56"
    information = json.loads(service.docker("info", "--format", "json").stdout)
    assert information["Images"] == 0
    assert not information.get("ServerErrors")
    assert lines(service.docker("ps", "-aq").stdout) == []


def test_disk_usage_counts_shared_content_once(service: Service) -> None:
    empty = [json.loads(row) for row in lines(service.docker("system", "df", "--format", "json").stdout)]
    assert [(row["Type"], row["TotalCount"], row["Size"]) for row in empty] == [
        (kind, "0", "0B") for kind in ("Images", "Containers", "Local Volumes", "Build Cache")
    ]

    service.docker("import", "-", "app:1", stdin=small_tar(b"x" * 100_000))
    service.docker("import", "-m", "other", "-", "app:2", stdin=small_tar(b"x" * 100_000))
    images = json.loads(lines(service.docker("system", "df", "--format", "json").stdout)[0])
    with tarfile.open(fileobj=io.BytesIO(service.docker("save", "app:1", "app:2").stdout)) as saved:
        stored = sum(member.size for member in saved if member.name.startswith("blobs/"))
    assert (images["TotalCount"], images["Active"], images["Size"]) == ("2", "0", f"{stored / 1000:.4g}kB")
    assert images["Reclaimable"] == f"{images['Size']} (100%)"

    verbose = json.loads(service.docker("system", "df", "-v", "--format", "json").stdout)
    assert {image["Tag"] for image in verbose["Images"]} == {"1", "2"}
    assert {image["Containers"] for image in verbose["Images"]} == {"0"}
    assert all(image["SharedSize"] != "0B" and image["UniqueSize"] != "0B" for image in verbose["Images"])
    assert (verbose["Containers"], verbose["Volumes"], verbose["BuildCache"]) == ([], [], [])
    table = lines(service.docker("system", "df", "-v").stdout)
    assert table[0] == "Images space usage:"
    assert sorted(row.split()[:2] for row in table if row.startswith("app")) == [["app", "1"], ["app", "2"]]


def small_tar(content: bytes = b"hello") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("etc/motd")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
