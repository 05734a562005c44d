"""An unmodified docker-py on the unix socket and on TCP, at API versions from the oldest that it speaks to the newest."""

from __future__ import annotations

import datetime as dt
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from docker.models.images import Image

from tests.builders import ArchivedImage, Layout, docker_archive_members, make_layer, make_tar
from tests.conformance.conftest import Service
from tests.fake_registry.index import FakeIndex

VERSIONS = ["1.24", "1.30", "1.41", "1.45", "1.51", "1.52", "1.56"]
prunes = pytest.mark.parametrize("client", ["auto", *VERSIONS[1:]], indirect=True)
"""docker-py has `prune` and `df` from 1.25 on."""


@pytest.fixture(params=["unix", "tcp"])
def base_url(request: pytest.FixtureRequest, shared: Service) -> str:
    return f"unix://{shared.socket}" if request.param == "unix" else f"tcp://127.0.0.1:{shared.port}"


@pytest.fixture(params=["auto", *VERSIONS])
def client(request: pytest.FixtureRequest, base_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.DockerClient]:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    connected = docker.DockerClient(base_url=base_url, version=request.param)
    yield connected
    for image in connected.images.list(all=True):
        connected.images.remove(image.id, force=True)
    connected.close()


@pytest.fixture
def newest(shared: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.DockerClient]:
    """A client at the version that it and the service agree on."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    connected = docker.DockerClient(base_url=f"unix://{shared.socket}")
    yield connected
    for image in connected.images.list(all=True):
        connected.images.remove(image.id, force=True)
    connected.close()


def archive(*names: str) -> bytes:
    """An OCI layout of one image under these familiar names."""
    layout = Layout()
    image = layout.image([make_layer("first"), make_layer("second")], config={"Labels": {"stage": "test"}, "Cmd": ["/app"]})
    for name in names:
        layout.tag(image, f"docker.io/library/{name}")
    return layout.to_tar()


def load(client: docker.DockerClient, *names: str) -> Image:
    return client.images.load(archive(*names))[0]


def unix_time(moment: str) -> float:
    return dt.datetime.fromisoformat(moment).timestamp()


def members(saved: bytes) -> set[str]:
    with tarfile.open(fileobj=io.BytesIO(saved)) as opened:
        return set(opened.getnames())


def test_an_image_lives_from_load_to_load(client: docker.DockerClient) -> None:
    image = load(client, "app:1")
    assert (image.tags, image.labels, image.attrs["Config"]["Cmd"]) == (["app:1"], {"stage": "test"}, ["/app"])
    assert client.images.get("app:1") == image
    assert image.tag("team/app", tag="two") is True
    image.reload()
    assert image.tags == ["app:1", "team/app:two"]
    assert [entry["CreatedBy"] for entry in image.history()] == ["COPY layer1 / # buildkit", "COPY layer0 / # buildkit"]
    assert [entry["Tags"] for entry in client.api.history("app:1")] == [image.tags, None]

    saved = b"".join(image.save(named=True))
    assert {"manifest.json", "index.json", "oci-layout"} <= members(saved)
    client.images.remove("app:1")
    client.images.remove("team/app:two")
    assert client.images.list(all=True) == []
    (again,) = client.images.load(saved)
    assert (again.id, again.tags) == (image.id, ["app:1"])


@prunes
def test_a_prune_tells_what_it_freed(client: docker.DockerClient) -> None:
    image = load(client, "app:1")
    assert client.images.prune() == {"ImagesDeleted": None, "SpaceReclaimed": 0}
    pruned = client.images.prune(filters={"dangling": False})
    assert {"Untagged": "app:1"} in pruned["ImagesDeleted"] and {"Deleted": image.id} in pruned["ImagesDeleted"]
    assert pruned["SpaceReclaimed"] > 0
    assert client.images.list(all=True) == []


def test_lists_are_filtered(client: docker.DockerClient) -> None:
    image = load(client, "app:1", "app:2", "other:1")
    assert client.images.list() == [image]
    assert client.images.list(name="other") == [image]
    assert client.images.list(name="nothing") == []
    assert client.images.list(filters={"label": "stage=test"}) == [image]
    assert client.images.list(filters={"label": ["stage=test", "owner"], "dangling": False}) == []
    assert client.images.list(filters={"dangling": True}) == []
    assert client.api.images(quiet=True) == [image.id]


def test_what_is_not_there_is_an_image_not_found(client: docker.DockerClient) -> None:
    load(client, "app:1")
    words = "No such image: nosuch:1"
    for act in (client.images.get, client.images.remove, client.api.history, lambda name: client.api.tag(name, "team/app")):
        with pytest.raises(docker.errors.ImageNotFound) as caught:
            act("nosuch:1")
        assert (caught.value.status_code, caught.value.explanation) == (404, words)


def test_errors_have_dockers_words(client: docker.DockerClient) -> None:
    image = load(client, "app:1", "other:1")
    with pytest.raises(docker.errors.APIError, match="image is referenced in multiple repositories") as conflict:
        client.images.remove(image.id)
    assert conflict.value.status_code == 409 and conflict.value.is_client_error()
    with pytest.raises(docker.errors.APIError) as invalid:
        client.api.tag("app:1", "team/UPPER")
    assert (invalid.value.status_code, invalid.value.explanation) == (
        400,
        "invalid reference format: repository name (team/UPPER) must be lowercase",
    )
    with pytest.raises(docker.errors.APIError, match="invalid filter 'nonsense'") as unknown:
        client.images.list(filters={"nonsense": "1"})
    assert unknown.value.status_code == 400
    with pytest.raises(docker.errors.APIError) as containers:
        client.containers.create("app:1")
    assert containers.value.status_code == 501 and "Stowage" in containers.value.explanation


def test_a_broken_archive_is_an_error_of_the_load(client: docker.DockerClient) -> None:
    with pytest.raises((docker.errors.APIError, docker.errors.ImageLoadError)):
        client.images.load(b"this is no archive")
    assert client.images.list() == []


def test_imports_tell_the_id(client: docker.DockerClient, tmp_path: Path) -> None:
    root_fs = make_tar({"etc/motd": b"hello\n"})
    path = tmp_path / "rootfs.tar"
    path.write_bytes(root_fs)
    from_data = client.api.import_image_from_data(root_fs, repository="imported", tag="data")
    from_file = client.api.import_image_from_file(str(path), repository="imported", tag="file", changes=['CMD ["/bin/sh"]'])
    for answer, name in ((from_data, "imported:data"), (from_file, "imported:file")):
        assert client.images.get(name).id in answer
    assert client.images.get("imported:file").attrs["Config"]["Cmd"] == ["/bin/sh"]


def test_pull_and_push_through_a_registry(client: docker.DockerClient, registry: str) -> None:
    version = client.api._version
    image, name = load(client, "app:1"), f"{registry}/docker-py/v{version}"
    image.tag(name, tag="1")
    lines = list(client.images.push(name, tag="1", stream=True, decode=True))
    assert lines[0]["status"] == f"The push refers to repository [{name}]"
    assert any(line.get("aux", {}).get("Digest") == image.id for line in lines)
    client.images.remove(image.id, force=True)

    pulled = client.images.pull(name, tag="1")
    assert (pulled.id, pulled.attrs["RepoDigests"]) == (image.id, [f"{name}@{image.id}"])
    assert client.images.pull(f"{name}@{image.id}").id == image.id
    assert [one.id for one in client.images.pull(name, all_tags=True)] == [image.id]
    statuses = [line["status"] for line in client.api.pull(name, tag="1", stream=True, decode=True)]
    assert statuses[-1] == f"Status: Image is up to date for {name}:1"
    with pytest.raises(docker.errors.NotFound, match="not found") as missing:
        client.images.pull(name, tag="nosuch")
    assert missing.value.status_code == 404


def test_events_are_streamed_until_they_are_closed(client: docker.DockerClient) -> None:
    image = load(client, "app:1")
    since = image.attrs["Metadata"]["LastTagTime"]
    image.tag("app", tag="2")
    live = client.events(decode=True, filters={"type": "image", "event": ["tag", "delete"]}, since=unix_time(since))
    tagged = next(live)
    client.images.remove(image.id, force=True)
    deleted = next(live)
    live.close()
    assert (tagged["Action"], tagged["Actor"]) == ("tag", {"ID": image.id, "Attributes": {"name": "app:2", "stage": "test"}})
    assert (deleted["Type"], deleted["Action"], deleted["Actor"]["ID"]) == ("image", "delete", image.id)


def test_the_history_of_events_ends_at_until(newest: docker.DockerClient) -> None:
    image = load(newest, "app:1")
    image.tag("app", tag="2")
    tagged = unix_time(newest.images.get("app:2").attrs["Metadata"]["LastTagTime"])
    until = dt.datetime.fromtimestamp(tagged, dt.UTC) + dt.timedelta(seconds=1)
    for labels, names in ((["stage=test"], {"app:2"}), (["stage=other"], set())):
        filters = {"event": ["tag"], "image": ["app:2"], "label": labels}
        past = list(newest.events(since=tagged - 1, until=until, decode=True, filters=filters))
        assert {event["Actor"]["Attributes"]["name"] for event in past} == names


@prunes
def test_disk_usage_counts_an_image_once(client: docker.DockerClient) -> None:
    load(client, "app:1", "app:2")
    (usage,) = client.df()["Images"]
    assert (usage["RepoTags"], usage["Containers"]) == (["app:1", "app:2"], 0)


def test_info_and_version_are_of_the_service(client: docker.DockerClient) -> None:
    load(client, "app:1", "app:2")
    assert client.ping() is True
    assert client.version()["ApiVersion"] == "1.56"
    information = client.info()
    assert (information["Images"], information["Containers"], information["Driver"]) == (1, 0, "stowage")
    assert client.containers.list(all=True) == client.volumes.list() == client.networks.list() == []


def test_a_search_asks_the_registry_of_the_term(newest: docker.DockerClient) -> None:
    found = {"name": "team/app", "description": "The app", "star_count": 7, "is_official": False}
    with FakeIndex(results=[found]).serve() as index:
        results = newest.images.search(f"{index.host}/app", limit=5)
    assert results == [found | {"is_automated": False}]


def test_a_docker_archive_is_loaded_under_each_name(newest: docker.DockerClient) -> None:
    one = ArchivedImage((make_layer("one"),), ("one:1", "one:2"))
    two = ArchivedImage((make_layer("two"),), ("two:1",))
    loaded = newest.images.load(make_tar(docker_archive_members([one, two])))
    assert sorted(tag for image in set(loaded) for tag in image.tags) == ["one:1", "one:2", "two:1"]


def test_registry_data_leads_to_a_pull(newest: docker.DockerClient, registry: str) -> None:
    image, name = load(newest, "app:1"), f"{registry}/docker-py/asked"
    image.tag(name, tag="1")
    newest.images.push(name, tag="1")
    newest.images.remove(image.id, force=True)
    found = newest.images.get_registry_data(f"{name}:1")
    assert (found.id, found.has_platform("linux/amd64"), found.has_platform("linux/s390x")) == (image.id, True, False)
    assert found.pull(platform="linux/amd64").id == image.id
