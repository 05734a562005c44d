"""A service whose bucket throttles, refuses, is silent or cuts its answers, as clients of the service see it."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.conftest import Service, needs
from tests.conformance.test_crash import archive
from tests.faulty_bucket import Fault, FaultyBucket
from tests.ports import free_port
from tests.seaweedfs import Seaweed
from tests.services.content.test_bucket_faults import MESSAGES, STATUSES

LAYER_BYTES = 20_000_000
NAME = "team/app:1"
METHODS = ("GET", "HEAD", "PUT", "POST", "DELETE")


@pytest.fixture(scope="module")
def faulty(seaweedfs: Seaweed) -> Iterator[FaultyBucket]:
    needs("docker")
    with FaultyBucket(seaweedfs).running() as proxy:
        yield proxy


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, seaweedfs: Seaweed, faulty: FaultyBucket) -> Iterator[Service]:
    """A service that waits for the bucket no longer than three seconds."""
    url = seaweedfs.url(seaweedfs.create_bucket()).replace(seaweedfs.endpoint, faulty.endpoint)
    settings = {"STOWAGE_CONTENT_URL": url, "STOWAGE_CONTENT_TIMEOUT": "3", "STOWAGE_WORKERS": "1", **seaweedfs.environ()}
    service = Service(tmp_path_factory.mktemp("faults") / "stowage", free_port(), settings)
    service.start()
    yield service
    assert service.run("verify").returncode == 0
    service.stop()


@pytest.fixture
def service(running: Service, faulty: FaultyBucket) -> Iterator[Service]:
    """The service, whose bucket works and is empty before and after each test."""
    yield running
    faulty.heal()
    running.docker("image", "prune", "--all", "--force")


def loaded(service: Service, *, check: bool = True) -> str:
    return said(service.docker("load", stdin=archive(NAME, 1, layer_bytes=LAYER_BYTES), check=check))


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    return (done.stdout + done.stderr).decode()


def save(service: Service, path: Path, *, check: bool = True) -> int:
    return service.docker("save", "--output", str(path), NAME, check=check).returncode


def layers_of(path: Path) -> list[bytes]:
    """The layers of the only image of a saved archive."""
    with tarfile.open(path) as saved:
        (entry,) = json.load(saved.extractfile("manifest.json"))  # type: ignore[arg-type]
        return [saved.extractfile(name).read() for name in entry["Layers"]]  # type: ignore[union-attr]


@contextmanager
def throttled(faulty: FaultyBucket) -> Iterator[None]:
    """The bucket refuses a few requests of every kind; some are met within the context."""
    faults = [faulty.fail(Fault(method=method, skip=1, times=4, status=503, code="SlowDown")) for method in METHODS]
    yield
    assert any(fault.met > fault.skip for fault in faults)
    faulty.heal()


def test_requests_go_on_after_a_short_throttling(service: Service, faulty: FaultyBucket, registry: str, tmp_path: Path) -> None:
    remote = f"{registry}/throttled/app:1"
    with throttled(faulty):
        assert "Loaded image: team/app:1" in loaded(service)
    save(service, tmp_path / "before.tar")
    with throttled(faulty):
        save(service, tmp_path / "saved.tar")
    assert (tmp_path / "saved.tar").read_bytes() == (tmp_path / "before.tar").read_bytes()
    service.docker("tag", NAME, remote)
    with throttled(faulty):
        service.docker("push", remote)
    service.docker("rmi", "--force", NAME, remote)
    with throttled(faulty):
        service.docker("pull", remote)
    service.docker("tag", remote, NAME)
    save(service, tmp_path / "pulled.tar")
    assert layers_of(tmp_path / "pulled.tar") == layers_of(tmp_path / "before.tar")


def test_throttling_that_does_not_end_is_an_error_and_nothing_is_lost(service: Service, faulty: FaultyBucket, tmp_path: Path) -> None:
    loaded(service)
    faulty.fail(Fault(status=503, code="SlowDown"))
    assert "is busy or fails for a while (503): try again later" in said(service.docker("save", NAME, check=False))
    other = archive("team/app:2", 2, layer_bytes=LAYER_BYTES)
    assert "is busy or fails for a while (SlowDown): try again later" in said(service.docker("load", stdin=other, check=False))
    faulty.heal()
    service.docker("load", stdin=other)
    save(service, tmp_path / "saved.tar")


@pytest.mark.parametrize("code", ["ExpiredToken", "AccessDenied"])
def test_credentials_that_are_refused_are_said_and_nothing_is_lost(
    service: Service, faulty: FaultyBucket, code: str, registry: str
) -> None:
    faulty.fail(Fault(method="PUT", skip=1, status=STATUSES[code], code=code))
    assert MESSAGES[code] in loaded(service, check=False)
    faulty.heal()
    loaded(service)
    name = f"{registry}/refused/app:1"
    service.docker("tag", NAME, name)
    service.docker("push", name)
    service.docker("rmi", "--force", NAME, name)
    faulty.fail(Fault(method="PUT", status=STATUSES[code], code=code))
    assert MESSAGES[code] in said(service.docker("pull", name, check=False))
    faulty.heal()
    assert "Pull complete" in said(service.docker("pull", name))


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(Fault(method="GET", skip=5, status=400, code="ExpiredToken"), id="expired"),
        pytest.param(Fault(method="GET", skip=5, status=503, code="SlowDown"), id="throttled"),
        pytest.param(Fault(method="GET", skip=5, cut=1000), id="cut"),
        pytest.param(Fault(method="GET", skip=5, cut=1000, claims_whole=True), id="short"),
        pytest.param(Fault(method="GET", skip=5, hangs=True), id="silent"),
    ],
)
def test_a_save_that_the_bucket_breaks_ends_as_cut_and_the_next_one_is_whole(
    service: Service, faulty: FaultyBucket, fault: Fault, tmp_path: Path
) -> None:
    loaded(service)
    faulty.fail(fault)
    assert save(service, tmp_path / "broken.tar", check=False) != 0
    assert fault.met > fault.skip
    faulty.heal()
    save(service, tmp_path / "saved.tar")
    with tarfile.open(tmp_path / "saved.tar") as saved:
        (entry,) = json.load(saved.extractfile("manifest.json"))  # type: ignore[arg-type]
        assert entry["RepoTags"] == [NAME]
        assert sum(member.size for member in saved) > LAYER_BYTES


def test_a_bucket_that_may_not_be_listed_is_said_at_the_start_and_by_gc(service: Service, faulty: FaultyBucket) -> None:
    loaded(service)
    service.stop()
    faulty.fail(Fault(method="GET", target="list-type|[?&]uploads=", status=403, code="AccessDenied"))
    faulty.fail(Fault(instead_of=404, status=403, code="AccessDenied"))
    service.start()
    assert "what no row names will be found neither by stowage gc nor by stowage verify" in service.log.read_text()
    service.docker("rmi", NAME)
    loaded(service)
    collected = service.run("gc")
    assert (collected.returncode, "objects without a row were not looked for" in collected.stdout) == (0, True)


def test_while_the_bucket_is_silent_requests_that_do_not_need_it_are_answered(service: Service, faulty: FaultyBucket) -> None:
    loaded(service)
    faulty.fail(Fault(hangs=True))
    saving = [subprocess.Popen(["docker", "-H", f"unix://{service.socket}", "save", NAME], stdout=-3, stderr=-3) for _ in range(4)]
    assert NAME.partition(":")[0] in said(service.docker("images"))
    service.docker("tag", NAME, "other:1")
    for each in saving:
        assert each.wait(60) != 0
