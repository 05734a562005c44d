"""skopeo, buildah and dockerode, for which the service is a Docker daemon that they take images from and hand images to."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import Json, Layout, make_layer
from tests.conformance.conftest import Service, needs, skopeo
from tests.conformance.npm import install

DOCKERODE = "dockerode@5.0.1"
IN_OWN_RUN = 'mount -t tmpfs tmpfs /run && ln -s "$1" /run/docker.sock && shift && exec "$@"'
"""buildah looks for a daemon at /run/docker.sock only: each run of it has a /run of its own, with the service there."""
SCRIPT = """
const fs = require("fs"), { pipeline } = require("stream/promises"), Docker = require("dockerode");
const docker = new Docker({ socketPath: process.env.STOWAGE });
const followed = (stream) => new Promise((done, failed) =>
  docker.modem.followProgress(stream, (error, lines) => (error ? failed(error) : done(lines))));
(async () => {
  const image = docker.getImage("app:1"), told = {};
  told.listed = (await docker.listImages()).map((one) => one.RepoTags);
  told.inspected = (await image.inspect()).Id;
  told.history = (await image.history()).length;
  await pipeline(await image.get(), fs.createWriteStream(process.env.ARCHIVE));
  await image.tag({ repo: "team/two", tag: "1" });
  told.removed = [...(await docker.getImage("team/two:1").remove()), ...(await image.remove())];
  told.loaded = (await followed(await docker.loadImage(process.env.ARCHIVE))).map((line) => line.stream.trim());
  told.missing = await docker.getImage("nosuch").inspect().catch((error) => [error.statusCode, error.json.message]);
  console.log(JSON.stringify(told));
})();
"""

Buildah = Callable[..., str]


@pytest.fixture(autouse=True)
def docker_cli() -> None:
    needs("docker")


@pytest.fixture
def service(emptied: Service) -> Service:
    return emptied


@pytest.fixture
def image(service: Service, tmp_path: Path) -> Json:
    """The descriptor of app:1, an image of two layers that the service has."""
    layout = Layout()
    descriptor = layout.image([make_layer("one", 3 << 20), make_layer("two")], config={"Labels": {"stage": "test"}, "Cmd": ["/app"]})
    layout.tag(descriptor, "docker.io/library/app:1")
    archive = tmp_path / "source.tar"
    archive.write_bytes(layout.to_tar())
    service.docker("load", "-i", str(archive))
    return descriptor


@pytest.fixture
def buildah(service: Service, tmp_path: Path) -> Buildah:
    """A function that runs buildah with a store of its own and the service as its daemon; returns what it prints."""
    needs("buildah")
    if os.getuid() != 0:
        pytest.skip("buildah runs as root here")
    policy = tmp_path / "policy.json"
    policy.write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    store = ("--storage-driver=vfs", f"--root={tmp_path}/buildah/root", f"--runroot={tmp_path}/buildah/run")

    def run(command: str, *arguments: str) -> str:
        trusted = () if command in ("config", "from", "inspect", "images") else (f"--signature-policy={policy}",)
        inner = ["sh", "-c", IN_OWN_RUN, "sh", str(service.socket), "buildah", *store, command, *trusted, *arguments]
        done = subprocess.run(["unshare", "--mount", *inner], capture_output=True, text=True, timeout=100)
        if "mount: " in done.stderr or "unshare: " in done.stderr:
            pytest.skip(f"no mount namespace here: {done.stderr}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def diff_ids(service: Service, name: str) -> list[str]:
    return list(json.loads(service.docker("image", "inspect", name).stdout)[0]["RootFS"]["Layers"])


@pytest.mark.parametrize("address", ["unix://{socket}", "http://127.0.0.1:{port}"], ids=["unix", "tcp"])
def test_skopeo_copies_from_the_service_and_back(service: Service, image: Json, tmp_path: Path, address: str) -> None:
    host = address.format(socket=service.socket, port=service.port)
    skopeo("copy", f"--src-daemon-host={host}", "docker-daemon:app:1", f"oci:{tmp_path}/copy:1")
    copied = json.loads(skopeo("inspect", "--config", f"oci:{tmp_path}/copy:1"))
    assert copied["rootfs"]["diff_ids"] == diff_ids(service, "app:1")

    skopeo("copy", f"--dest-daemon-host={host}", f"oci:{tmp_path}/copy:1", "docker-daemon:team/back:1")
    assert diff_ids(service, "team/back:1") == diff_ids(service, "app:1")
    looked_at = json.loads(skopeo("inspect", f"--daemon-host={host}", "docker-daemon:team/back:1"))
    assert looked_at["Labels"] == {"stage": "test"}
    by_id = json.loads(skopeo("inspect", f"--daemon-host={host}", "--config", f"docker-daemon:{image['digest']}"))
    assert by_id["rootfs"]["diff_ids"] == diff_ids(service, "app:1")


@pytest.mark.usefixtures("image")
def test_buildah_pulls_from_the_service_and_pushes_to_it(service: Service, buildah: Buildah) -> None:
    identity = buildah("pull", "docker-daemon:app:1")
    assert json.loads(buildah("inspect", "--type=image", "app:1"))["OCIv1"]["config"]["Labels"] == {"stage": "test"}
    buildah("push", identity, "docker-daemon:team/back:1")
    assert diff_ids(service, "team/back:1") == diff_ids(service, "app:1")


@pytest.mark.usefixtures("image")
def test_an_image_that_buildah_made_is_handed_over(service: Service, buildah: Buildah) -> None:
    container = buildah("from", "docker-daemon:app:1")
    buildah("config", "--label=owner=team", container)
    buildah("commit", container, "docker-daemon:team/made:1")
    made = json.loads(service.docker("image", "inspect", "team/made:1").stdout)[0]
    assert made["Config"]["Labels"]["owner"] == "team"
    assert made["RootFS"]["Layers"][:2] == diff_ids(service, "app:1")


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node_modules folder with dockerode."""
    needs("node")
    return install(DOCKERODE, tmp_path_factory)


@pytest.mark.node
def test_dockerode_lists_saves_loads_and_removes(service: Service, image: Json, modules: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "NODE_PATH": str(modules), "ARCHIVE": str(tmp_path / "saved.tar"), "STOWAGE": str(service.socket)}
    done = subprocess.run(["node", "--eval", SCRIPT], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "listed": [["app:1"]],
        "inspected": image["digest"],
        "history": 2,
        "removed": [{"Untagged": "team/two:1"}, {"Untagged": "app:1"}, {"Deleted": image["digest"]}],
        "loaded": ["Loaded image: app:1"],
        "missing": [404, "No such image: nosuch:latest"],
    }
