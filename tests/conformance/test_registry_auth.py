"""Logins, a private authority and resume with the real docker CLI and docker-registry; no secret is left behind."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builders import Layout, make_layer, simple_layout
from tests.conformance.conftest import START_SECONDS, Service, listens, needs, wait_for
from tests.fake_registry import FakeRegistry, Fault
from tests.ports import free_port
from tests.waiting import poll

PASSWORD = "s3cret-p4ssword"
HTPASSWD = "user:$2b$04$xQVu5KhkCp1.IV0cnHCsmOPu533pimEcGTgJ93n7lR023JUiB8/gi\n"


@dataclass(frozen=True)
class Registry:
    """A running docker-registry that wants a login, and the authority of its certificate."""

    host: str
    authority: Path
    image: str


def make_certificates(folder: Path) -> tuple[Path, Path, Path]:
    """A private authority, and a certificate with its key that it signed for 127.0.0.1."""
    needs("openssl")
    authority, authority_key = folder / "authority.crt", folder / "authority.key"
    certificate, key, request, extensions = (folder / f"registry.{end}" for end in ("crt", "key", "csr", "ext"))
    extensions.write_text("subjectAltName=IP:127.0.0.1\n")
    new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes"]
    for command in (
        [*new, "-x509", "-days", "2", "-subj", "/CN=private authority", "-keyout", str(authority_key), "-out", str(authority)],
        [*new, "-subj", "/CN=registry", "-keyout", str(key), "-out", str(request)],
        ["openssl", "x509", "-req", "-days", "2", "-in", str(request), "-CA", str(authority), "-CAkey", str(authority_key)]
        + ["-CAcreateserial", "-extfile", str(extensions), "-out", str(certificate)],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return authority, certificate, key


@contextmanager
def registry_that_wants_a_login(folder: Path, tls: str = "") -> Iterator[str]:
    """HOST:PORT of a docker-registry behind htpasswd, with `tls` in its http section."""
    needs("docker-registry")
    (folder / "htpasswd").write_text(HTPASSWD)
    port = free_port()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"auth: {{htpasswd: {{realm: closed, path: {folder}/htpasswd}}}}\nhttp: {{addr: '127.0.0.1:{port}'{tls}}}\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    try:
        wait_for(lambda: listens(port), process, "docker-registry")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=START_SECONDS)


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """docker-registry behind TLS and htpasswd, with one image."""
    needs("skopeo")
    folder = tmp_path_factory.mktemp("closed")
    authority, certificate, key = make_certificates(folder)
    with registry_that_wants_a_login(folder, f", tls: {{certificate: {certificate}, key: {key}}}") as host:
        (folder / "image.tar").write_bytes(simple_layout().to_tar())
        name = f"{host}/team/app:1"
        copy = [
            "skopeo",
            "copy",
            "--dest-creds",
            f"user:{PASSWORD}",
            "--dest-tls-verify=false",
            f"oci-archive:{folder}/image.tar",
            f"docker://{name}",
        ]
        subprocess.run(copy, check=True, capture_output=True)
        yield Registry(host, authority, name)


@pytest.fixture
def strict(tmp_path: Path, closed_registry: Registry) -> Iterator[Service]:
    """A service that takes no registry for insecure, and knows the private authority of one."""
    folder = tmp_path / "certs.d" / closed_registry.host
    folder.mkdir(parents=True)
    shutil.copy(closed_registry.authority, folder / "ca.crt")
    environment = {"STOWAGE_INSECURE_REGISTRIES": "", "STOWAGE_CERTS_DIRS": str(tmp_path / "certs.d")}
    running = Service(tmp_path / "stowage", free_port(), environment)
    running.start()
    yield running
    running.stop()


def leaves(service: Service, secret: str) -> list[Path]:
    """The files of a service that hold a secret: its log, its database, everything."""
    files = [service.log, *(path for path in service.root.rglob("*") if path.is_file())]
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_a_login_opens_a_registry_behind_a_private_authority(strict: Service, closed_registry: Registry) -> None:
    refused = strict.docker("pull", closed_registry.image, check=False)
    assert refused.returncode != 0
    assert b"no basic auth credentials" in refused.stderr
    wrong = strict.docker("login", "-u", "user", "--password-stdin", closed_registry.host, stdin=b"wrong-p4ss", check=False)
    assert b"401 Unauthorized" in wrong.stderr
    taken = strict.docker("login", "-u", "user", "--password-stdin", closed_registry.host, stdin=PASSWORD.encode())
    assert b"Login Succeeded" in taken.stdout
    strict.docker("pull", closed_registry.image)
    strict.docker("image", "inspect", closed_registry.image)
    assert leaves(strict, PASSWORD) == []
    assert leaves(strict, "wrong-p4ss") == []


def test_a_login_in_plain_http_where_the_registry_is_insecure(service: Service, tmp_path: Path) -> None:
    with registry_that_wants_a_login(tmp_path) as host:
        name = f"{host}/team/app:1"
        (tmp_path / "app.tar").write_bytes(simple_layout().to_tar())
        loaded = service.docker("load", "-i", str(tmp_path / "app.tar")).stdout.decode().split()[-1]
        service.docker("tag", loaded, name)
        refused = service.docker("push", name, check=False)
        assert b"no basic auth credentials" in refused.stderr
        service.docker("login", "-u", "user", "--password-stdin", host, stdin=PASSWORD.encode())
        service.docker("push", name)
        service.docker("rmi", name, loaded)
        service.docker("pull", name)
        service.docker("image", "inspect", name)
    assert leaves(service, PASSWORD) == []


def test_a_registry_that_wants_a_client_certificate_gets_that_of_certs_d(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    authority, certificate, key = make_certificates(tmp_path / "registry")
    tls = f", tls: {{certificate: {certificate}, key: {key}, clientcas: ['{authority}']}}"
    with registry_that_wants_a_login(tmp_path / "registry", tls) as host:
        folder = tmp_path / "certs.d" / host
        folder.mkdir(parents=True)
        shutil.copy(authority, folder / "ca.crt")
        settings = {"STOWAGE_INSECURE_REGISTRIES": "", "STOWAGE_CERTS_DIRS": str(tmp_path / "certs.d")}
        running = Service(tmp_path / "stowage", free_port(), settings)
        running.start()
        login = ("login", "-u", "user", "--password-stdin", host)
        refused = running.docker(*login, stdin=PASSWORD.encode(), check=False)
        shutil.copy(certificate, folder / "client.cert")
        shutil.copy(key, folder / "client.key")
        accepted = running.docker(*login, stdin=PASSWORD.encode())
        running.stop()
    assert refused.returncode != 0
    assert b"Login Succeeded" in accepted.stdout


def test_an_unknown_authority_is_told_in_dockers_words(strict: Service, closed_registry: Registry, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "certs.d")
    refused = strict.docker("pull", closed_registry.image, check=False)
    assert b"tls: failed to verify certificate: x509: certificate signed by unknown authority" in refused.stderr


def test_a_mirror_of_hosts_toml_serves_another_registry(strict: Service, closed_registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "certs.d" / "nowhere.invalid"
    folder.mkdir()
    shutil.copy(closed_registry.authority, folder / "ca.pem")
    with FakeRegistry().serve() as mirror:
        layout = Layout()
        mirror.publish(layout, layout.image([make_layer("mirrored")]))
        (folder / "hosts.toml").write_text(
            f'[host."https://{closed_registry.host}"]\ncapabilities = ["pull", "resolve"]\nca = "ca.pem"\n[host."{mirror.base}"]\n'
        )
        strict.docker("pull", "nowhere.invalid/team/app:1")
        assert mirror.requests[0].query == {"ns": ["nowhere.invalid"]}


def test_a_host_below_a_path_is_pushed_to_and_pulled_from_with_its_own_headers(tmp_path: Path) -> None:
    (tmp_path / "registry").mkdir()
    with registry_that_wants_a_login(tmp_path / "registry", ", prefix: /mirrored/") as host:
        folder = tmp_path / "certs.d" / "nowhere.invalid"
        folder.mkdir(parents=True)
        basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
        (folder / "hosts.toml").write_text(
            f'[host."http://{host}/mirrored/v2"]\noverride_path = '
            f'true\n[host."http://{host}/mirrored/v2".header]\nauthorization = "Basic {basic}"\n'
        )
        running = Service(tmp_path / "stowage", free_port(), {"STOWAGE_CERTS_DIRS": str(tmp_path / "certs.d")})
        running.start()
        layout = simple_layout()
        (tmp_path / "app.tar").write_bytes(layout.to_tar())
        loaded = running.docker("load", "-i", str(tmp_path / "app.tar")).stdout.decode().split()[-1]
        running.docker("tag", loaded, "nowhere.invalid/team/app:1")
        running.docker("push", "nowhere.invalid/team/app:1")
        running.docker("image", "prune", "-af")
        left = running.docker("images", "-q").stdout
        running.docker("pull", "nowhere.invalid/team/app:1")
        pulled = running.docker("inspect", "--format", "{{.Id}}", "nowhere.invalid/team/app:1").stdout.decode().strip()
        running.stop()
    assert (left, pulled) == (b"", layout.manifests[0]["digest"])


def test_a_pull_that_is_killed_at_90_percent_transfers_the_rest_again(service: Service) -> None:
    size = 64 << 20
    layout = Layout()
    image = layout.image([make_layer("large", size)], compression="none")
    layer = next(digest for digest, content in layout.blobs.items() if len(content) > size)
    with FakeRegistry().serve() as registry:
        name = registry.publish(layout, image)
        registry.pause_after[layer] = size * 9 // 10
        puller = threading.Thread(target=service.docker, args=("pull", f"{name}:1"), kwargs={"check": False})
        puller.start()
        assert registry.stalled.wait(60)
        partial = next(service.root.glob("ingest/*/data"))
        poll(lambda: partial.stat().st_size >= size * 85 // 100, seconds=30)
        service.kill()
        puller.join(60)
        registry.pause_after.clear()
        registry.sent = 0
        service.start()
        service.docker("pull", f"{name}:1")
        assert registry.sent < size * 16 // 100
        service.docker("image", "inspect", f"{name}:1")


def test_a_client_that_goes_away_ends_a_pull_that_waits_for_an_answer(service: Service) -> None:
    layout = Layout()
    image = layout.image([make_layer("silent", 1 << 20)])
    layer = next(iter(layout.blobs))
    with FakeRegistry().serve() as registry:
        name = registry.publish(layout, image)
        registry.faults[layer] = Fault.SLOW_START
        environment = {**os.environ, "DOCKER_HOST": f"unix://{service.socket}"}
        client = subprocess.Popen(["docker", "pull", f"{name}:1"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        assert registry.stalled.wait(30)
        assert list((service.root / "locks").iterdir())
        client.kill()
        client.wait()
        poll(lambda: not list((service.root / "locks").iterdir()), seconds=5)
        assert registry.asked().count(f"GET {layer}") == 1
