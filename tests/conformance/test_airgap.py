"""Images carried to a machine without a network: archives that hold only what is new, and a whole store pushed to a registry there."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builders import Layout, layers_of, make_layer
from tests.conformance.conftest import REPOSITORY, STOWAGE, Service, needs
from tests.conformance.test_pull import digest_at
from tests.conformance.test_registry_auth import PASSWORD, registry_that_wants_a_login
from tests.fake_registry import FakeRegistry
from tests.fake_registry.uploads import UploadFault
from tests.ports import free_port
from tests.waiting import poll

BASE = make_layer("base", 3 << 20)


@pytest.fixture(scope="module", autouse=True)
def docker_cli() -> None:
    needs("docker")


@pytest.fixture
def inside(tmp_path: Path) -> Iterator[Service]:
    """A second service, on the side without a network."""
    running = Service(tmp_path / "inside", free_port())
    running.start()
    yield running
    running.stop()


def put(service: Service, name: str, label: str) -> Layout:
    """Load an image of the base and a layer of its own."""
    layout = Layout()
    layout.tag(layout.image([BASE, make_layer(label)], compression="none"), name)
    service.docker("load", stdin=layout.to_tar())
    return layout


def run(service: Service, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command of Stowage on this store, with the login of the service's docker CLI."""
    settings = {"STOWAGE_ROOT": str(service.root), "DOCKER_CONFIG": str(service.root.parent / "docker-config"), **environment}
    command = [*STOWAGE, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **settings}, capture_output=True, text=True, timeout=120)


def succeed(service: Service, *arguments: str, **environment: str) -> str:
    done = run(service, *arguments, **environment)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def images(service: Service) -> list[str]:
    return sorted(service.docker("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").stdout.decode().split("\n"))


def test_the_second_carry_holds_only_what_is_new(service: Service, inside: Service, dockerd: str, tmp_path: Path) -> None:
    first, second = tmp_path / "first.tar", tmp_path / "second.tar"
    put(service, "docker.io/team/app:1", "one")
    service.docker("save", "-o", str(first), "team/app:1")
    layout = put(service, "docker.io/team/app:2", "two")
    assert succeed(service, "save", "--since", str(first), "-o", str(second), "team/app:2") == ""
    assert first.stat().st_size > 3 << 20
    assert second.stat().st_size < 1 << 20

    inside.docker("load", "-i", str(first))
    assert inside.docker("load", "-i", str(second)).stdout == b"Loaded image: team/app:2\n"
    assert images(inside) == images(service)
    assert "every image is whole" in run(inside, "verify").stdout

    base, _ = layers_of(layout, layout.manifests[0])
    inside.docker("rmi", "team/app:1", "team/app:2")
    refused = inside.docker("load", "-i", str(second), check=False)
    assert refused.returncode == 1
    assert f"missing blob {base['digest']}" in refused.stderr.decode()
    assert images(inside) == [""]

    engine = {**os.environ, "DOCKER_HOST": dockerd}
    docker = subprocess.run(["docker", "load", "-i", str(second)], env=engine, capture_output=True, text=True, timeout=120)
    assert base["digest"].removeprefix("sha256:") in docker.stdout + docker.stderr


def test_the_other_side_may_send_a_list(service: Service, inside: Service, tmp_path: Path) -> None:
    put(inside, "docker.io/team/other:1", "other")
    layout = put(service, "docker.io/team/app:1", "one")
    (tmp_path / "blobs").write_text(succeed(inside, "blobs"))
    succeed(service, "save", "--since", str(tmp_path / "blobs"), "-o", str(tmp_path / "new.tar"), "team/app:1")
    base, _ = layers_of(layout, layout.manifests[0])
    with tarfile.open(tmp_path / "new.tar") as archive:
        assert f"blobs/sha256/{base['digest'].removeprefix('sha256:')}" not in archive.getnames()
    inside.docker("load", "-i", str(tmp_path / "new.tar"))
    assert "team/app:1" in "\n".join(images(inside))

    with urllib.request.urlopen(f"http://127.0.0.1:{inside.port}/stowage/blobs", timeout=30) as answer:
        listed = answer.read()
    request = urllib.request.Request(f"http://127.0.0.1:{service.port}/stowage/images/save?names=team/app:1", listed, method="POST")
    request.add_header("Content-Type", "text/plain")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert len(answer.read()) < 1 << 20


def test_what_cannot_be_saved_leaves_no_file(service: Service, tmp_path: Path) -> None:
    put(service, "docker.io/team/app:1", "one")
    (tmp_path / "notes").write_text("team/app:1\n")
    for arguments, status, words in (
        (("absent:1",), 1, "stowage: No such image: absent:1\n"),
        (("--since", str(tmp_path / "notes"), "team/app:1"), 2, 'nor a list of digests: line 1 is "team/app:1".\n'),
        (("--since", str(tmp_path / "missing"), "team/app:1"), 2, "missing: No such file or directory.\n"),
    ):
        done = run(service, "save", "-o", str(tmp_path / "out.tar"), *arguments)
        assert (done.returncode, done.stderr.endswith(words)) == (status, True), done.stderr
    assert not [path for path in tmp_path.iterdir() if "out.tar" in path.name]


def test_every_image_is_pushed_to_the_registry_and_the_rest_after_a_failure(service: Service, registry: str, tmp_path: Path) -> None:
    layouts = {name: put(service, f"docker.io/team/{name}:1", name) for name in ("one", "two", "three")}
    before = images(service)
    to = f"{registry}/carried"
    done = succeed(service, "push-all", "--to", to, "team/t*")
    assert done.splitlines() == [*(f"pushed team/{name}:1 to {to}/team/{name}:1" for name in ("three", "two")), "2 pushed"]
    damaged = layouts["one"].manifests[0]["digest"].removeprefix("sha256:")
    blob = service.root / "blobs" / "sha256" / damaged
    content = blob.read_bytes()
    blob.write_bytes(b"")
    failed = run(service, "push-all", "--to", to)
    assert failed.returncode == 1
    assert failed.stderr.startswith("stowage: team/one:1 was not pushed: ")
    assert failed.stdout.endswith("2 pushed, 1 failed\n")
    blob.write_bytes(content)
    assert succeed(service, "push-all", "--to", to).endswith("3 pushed\n")
    for name, layout in layouts.items():
        assert str(digest_at(f"{to}/team/{name}:1")) == layout.manifests[0]["digest"]
    assert images(service) == before


def test_an_interrupted_push_sends_the_rest(service: Service, tmp_path: Path) -> None:
    for name in ("a", "b"):
        put(service, f"docker.io/team/{name}:1", name)
    with FakeRegistry().serve() as there:
        arguments = ("push-all", "--to", there.host)
        environment = {**os.environ, "STOWAGE_ROOT": str(service.root), "DOCKER_CONFIG": str(tmp_path)}
        process = subprocess.Popen([*STOWAGE, *arguments], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"pushed team/a:1 to %b/team/a:1\n" % there.host.encode()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        sent = set(there.blobs)
        there.requests.clear()
        assert succeed(service, *arguments, DOCKER_CONFIG=str(tmp_path)).endswith("2 pushed\n")
        assert not [request for request in there.asked("POST", "PUT", "PATCH") if "team/a" in request]
        assert sent <= set(there.blobs)
        assert {("team/a", "1"), ("team/b", "1")} <= there.manifests.keys()


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[Service]:
    """A service whose page can end transfers."""
    running = Service(tmp_path / "stowage", free_port(), {"STOWAGE_UI": "write"})
    running.start()
    yield running
    running.stop()


def test_a_push_of_all_is_one_of_the_transfers_and_can_be_ended(writable: Service, tmp_path: Path) -> None:
    put(writable, "docker.io/team/a:1", "a")
    url = f"http://127.0.0.1:{writable.port}/stowage/transfers"
    with FakeRegistry().serve() as there:
        there.uploads.faults = [UploadFault.STALLED]
        environment = {**os.environ, "STOWAGE_ROOT": str(writable.root), "DOCKER_CONFIG": str(tmp_path)}
        command = [*STOWAGE, "push-all", "--to", there.host]
        with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True) as process:
            poll(lambda: json.load(urllib.request.urlopen(url)) != [])
            (transfer,) = json.load(urllib.request.urlopen(url))
            assert (transfer["Operation"], transfer["Client"]) == ("push", "stowage push-all")
            assert transfer["Images"] == [f"{there.host}/team/a:1"]
            urllib.request.urlopen(urllib.request.Request(f"{url}/{transfer['Id']}", method="DELETE"))
            _, errors = process.communicate(timeout=60)
        there.resume.set()
    assert (process.returncode, "this push was ended by an administrator" in errors) == (1, True)


@pytest.mark.parametrize("keep", ["auths", "credsStore", "credHelpers"])
def test_the_login_of_the_docker_cli_is_used(service: Service, tmp_path: Path, keep: str) -> None:
    put(service, "docker.io/team/app:1", "one")
    programs, folder = tmp_path / "bin", tmp_path / "login"
    programs.mkdir()
    folder.mkdir()
    helper = programs / "docker-credential-test"
    helper.write_text(f"""#!/bin/sh\ncat > {folder}/asked\necho '{{"Username": "user", "Secret": "{PASSWORD}"}}'\n""")
    helper.chmod(0o755)
    with registry_that_wants_a_login(tmp_path) as host:
        environment = {"DOCKER_CONFIG": str(folder), "PATH": f"{programs}:{os.environ['PATH']}"}
        anonymous = run(service, "push-all", "--to", host, **environment)
        assert (anonymous.returncode, anonymous.stdout) == (1, "0 pushed, 1 failed\n")
        auth = {"auth": base64.b64encode(f"user:{PASSWORD}".encode()).decode()}
        config = {"auths": {"auths": {host: auth}}, "credsStore": {"credsStore": "test"}, "credHelpers": {"credHelpers": {host: "test"}}}
        (folder / "config.json").write_text(json.dumps(config[keep]))
        assert succeed(service, "push-all", "--to", host, **environment).endswith("1 pushed\n")
        assert keep == "auths" or (folder / "asked").read_text() == host


def test_the_progress_is_on_a_terminal_only(service: Service, tmp_path: Path) -> None:
    needs("script")
    put(service, "docker.io/team/app:1", "one")
    command = f"{' '.join(STOWAGE)} verify > {tmp_path}/out"
    environment = {**os.environ, "STOWAGE_ROOT": str(service.root), "TERM": "xterm"}
    done = subprocess.run(["script", "-qec", command, "/dev/null"], cwd=REPOSITORY, env=environment, capture_output=True, timeout=60)
    assert b"\r\x1b[K" in done.stdout
    assert (tmp_path / "out").read_text() == "every image is whole\n"
    assert run(service, "verify").stderr == ""
