"""Pushes to Debian's docker-registry by an unmodified docker CLI, read back by skopeo, by Stowage and by a Docker Engine."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.builders import Json, Layout, make_layer
from tests.conformance.conftest import Service, needs, skopeo
from tests.conformance.test_pull import digest_at
from tests.fake_registry import FakeRegistry
from tests.fake_registry.uploads import UploadFault
from tests.ports import free_port

LAYERS = [make_layer("pushed", 2 << 20), make_layer("too", 64)]


@pytest.fixture(scope="module", autouse=True)
def docker_cli() -> None:
    needs("docker")


@pytest.fixture
def service(emptied: Service) -> Service:
    return emptied


def load(service: Service, folder: Path, layout: Layout, descriptor: Json, name: str) -> None:
    layout.tag(descriptor, name)
    archive = folder / "source.tar"
    archive.write_bytes(layout.to_tar())
    service.docker("load", "-i", str(archive))


def image_id(service: Service, name: str) -> str:
    return service.docker("image", "inspect", "--format", "{{.Id}}", name).stdout.decode().strip()


def sample(layout: Layout, kind: str) -> Json:
    if kind == "multi":
        return layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
    return layout.image(LAYERS, compression=kind, docker=kind == "none")


@pytest.mark.parametrize("kind", ["none", "gzip", "zstd", "multi"])
def test_every_digest_stays_through_registries_and_clients(
    service: Service, registry: str, dockerd: str, tmp_path: Path, kind: str
) -> None:
    layout = Layout()
    descriptor = sample(layout, kind)
    name, copy, back = f"{registry}/push/{kind}:1", f"{registry}/push/{kind}-copy:1", f"{registry}/push/{kind}-back:1"
    load(service, tmp_path, layout, descriptor, name)
    service.docker("push", "--quiet", name)
    assert str(digest_at(name)) == descriptor["digest"]

    tls = ("--src-tls-verify=false", "--dest-tls-verify=false")
    for source, target in ((f"docker://{name}", f"dir:{tmp_path}/copy"), (f"dir:{tmp_path}/copy", f"docker://{copy}")):
        skopeo("copy", "--quiet", "--all", "--preserve-digests", *tls, source, target)
    assert str(digest_at(copy)) == descriptor["digest"]

    engine = {**os.environ, "DOCKER_HOST": dockerd, "DOCKER_CONFIG": str(tmp_path / "docker-config")}
    subprocess.run(["docker", "pull", "--quiet", copy], env=engine, check=True, capture_output=True, timeout=120)
    last = copy
    if kind != "multi":  # an old Engine cannot push an index of which it has one platform
        subprocess.run(["docker", "tag", copy, back], env=engine, check=True, capture_output=True, timeout=120)
        subprocess.run(["docker", "push", "--quiet", back], env=engine, check=True, capture_output=True, timeout=120)
        last = back
    assert str(digest_at(last)) == descriptor["digest"]

    service.docker("rmi", "--force", name)
    service.docker("pull", "--quiet", last)
    assert image_id(service, last) == descriptor["digest"]


def test_a_push_tells_what_happens_to_each_layer(service: Service, store: str, registry: str, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image([make_layer("told", 3 << 20)])
    name = f"{registry}/told-{store}/app:1"
    load(service, tmp_path, layout, image, name)
    (layer,) = [part["digest"][7:19] for part in json.loads(layout.blobs[image["digest"]])["layers"]]
    closing = f"1: digest: {image['digest']} size: {image['size']}"
    first = [line for line in service.docker("push", name).stdout.decode().splitlines() if not line.endswith(": Waiting")]  # if it is slow
    assert first == [f"The push refers to repository [{registry}/told-{store}/app]", f"{layer}: Preparing", f"{layer}: Pushed", closing]
    assert service.docker("push", name).stdout.decode().splitlines()[2:] == [f"{layer}: Layer already exists", closing]
    service.docker("tag", name, f"{registry}/told-{store}/other:1")
    assert f"{layer}: Mounted from told-{store}/app" in service.docker("push", f"{registry}/told-{store}/other:1").stdout.decode()


def test_all_tags_are_pushed(service: Service, registry: str, tmp_path: Path) -> None:
    layout = Layout()
    name = f"{registry}/all/app"
    load(service, tmp_path, layout, layout.image(LAYERS), f"{name}:1")
    service.docker("tag", f"{name}:1", f"{name}:2")
    shown = service.docker("push", "--all-tags", name).stdout.decode()
    assert re.findall(r"^(\d): digest: ", shown, re.MULTILINE) == ["1", "2"]
    assert digest_at(f"{name}:1") == digest_at(f"{name}:2")


def test_of_a_pulled_platform_the_manifest_is_pushed_and_the_cli_says_so(service: Service, registry: str, tmp_path: Path) -> None:
    layout = Layout()
    index = layout.multi_platform(("linux/amd64", "linux/arm64/v8"))
    name = f"{registry}/partial/app:1"
    load(service, tmp_path, layout, index, name)
    service.docker("push", "--quiet", name)
    service.docker("rmi", name)
    service.docker("pull", "--quiet", "--platform", "linux/arm64", name)
    service.docker("tag", name, f"{registry}/partial/one:1")
    shown = service.docker("push", f"{registry}/partial/one:1")
    arm64 = json.loads(layout.blobs[index["digest"]])["manifests"][1]["digest"]
    assert str(digest_at(f"{registry}/partial/one:1")) == arm64
    assert f"1: digest: {arm64}" in shown.stdout.decode()


def test_what_is_not_here_fails_the_push(service: Service) -> None:
    for arguments, words in (
        (("push", "nope:v"), "tag does not exist: nope:v"),
        (("push", "-a", "nope"), "An image does not exist locally with the tag: nope"),
    ):
        done = service.docker(*arguments, check=False)
        assert done.returncode == 1
        assert words in done.stderr.decode()


def test_a_registry_that_nobody_runs_is_told(service: Service, tmp_path: Path) -> None:
    layout = Layout()
    name = f"127.0.0.1:{free_port()}/team/app:1"
    load(service, tmp_path, layout, layout.image(LAYERS), name)
    done = service.docker("push", name, check=False)
    assert done.returncode == 1
    assert "failed to do request: Head" in done.stderr.decode() and "connection refused" in done.stderr.decode()


def test_an_upload_ends_soon_after_the_client_has_gone(service: Service, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image([make_layer("big", 64 << 20)], compression="none")
    config = json.loads(layout.blobs[image["digest"]])["config"]["digest"]
    with FakeRegistry(blobs={config: layout.blobs[config]}).serve() as fake:
        fake.uploads.faults = [UploadFault.STALLED]
        name = f"{fake.host}/team/app"
        load(service, tmp_path, layout, image, f"{name}:1")
        client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        client.request("POST", f"/v1.45/images/{name}/push?tag=1")
        assert client.getresponse().readline().startswith(b'{"status":"The push refers to repository')
        assert fake.stalled.wait(10)
        client.close()
        time.sleep(1)
        fake.resume.set()
        assert fake.uploads.broken_off.wait(10)
        assert fake.tags("team/app") == []


def test_a_busy_registry_is_tried_again_and_the_cli_says_so(service: Service, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image([make_layer("busy", 64)])
    document = json.loads(layout.blobs[image["digest"]])
    config, layer = document["config"]["digest"], document["layers"][0]["digest"]
    with FakeRegistry(blobs={config: layout.blobs[config]}).serve() as fake:
        fake.uploads.faults = [UploadFault.COME_BACK]
        name = f"{fake.host}/team/app:1"
        load(service, tmp_path, layout, image, name)
        shown = service.docker("push", name).stdout.decode().splitlines()
        assert f"{layer[7:19]}: Retrying in 1 second" in shown
        assert shown.index(f"{layer[7:19]}: Retrying in 1 second") < shown.index(f"{layer[7:19]}: Pushed")
        assert fake.tags("team/app") == ["1"]


def test_a_connection_that_is_cut_in_a_layer_is_made_again(service: Service, store: str, registry: str, tmp_path: Path) -> None:
    layout = Layout()
    image = layout.image([make_layer("cut", 8 << 20)], compression="none")
    with cut_once(registry, after=4 << 20) as (host, cut):
        name = f"{host}/cut-{store}/app:1"
        load(service, tmp_path, layout, image, name)
        shown = service.docker("push", name).stdout.decode()
        assert cut.is_set()
    assert f"1: digest: {image['digest']}" in shown
    assert str(digest_at(f"{registry}/cut-{store}/app:1")) == image["digest"]


@contextmanager
def cut_once(host: str, *, after: int) -> Iterator[tuple[str, threading.Event]]:
    """A way to a registry that is cut when a connection has carried so many bytes to it, the first time."""
    cut = threading.Event()

    class Relay(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            name, _, port = host.rpartition(":")
            with socket.create_connection((name, int(port))) as onward:
                threading.Thread(target=self.pass_on, args=(onward, self.request), daemon=True).start()
                self.pass_on(self.request, onward, None if cut.is_set() else after)

        def pass_on(self, source: socket.socket, target: socket.socket, limit: int | None = None) -> None:
            carried = 0
            with suppress(OSError):
                while piece := source.recv(1 << 16):
                    target.sendall(piece)
                    carried += len(piece)
                    if limit and carried >= limit:
                        cut.set()
                        break
                for each in (source, target):
                    each.shutdown(socket.SHUT_RDWR)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Relay) as relay:
        relay.daemon_threads = True
        thread = threading.Thread(target=relay.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{relay.server_address[1]}", cut
        finally:
            relay.shutdown()
            thread.join()
