"""Which bucket belongs to a database: a copy of the database never removes what the original needs."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from stowage.app.settings import Config, ConfigError
from tests.faulty_bucket import Fault, FaultyBucket
from tests.seaweedfs import Seaweed

STORE = """
from stowage.app.settings import Config
from stowage.app.wiring import build_engine
from stowage.services.metadata.store import upgrade
from tests.builders import put_image

config = Config.from_environ()
config.root.mkdir()
upgrade(config.database_url, config.platform)
put_image(build_engine(config))
"""


def run(root: Path, url: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run Python with these arguments and settings, in a process of its own: obstore begins after every fork."""
    settings = {**os.environ, "STOWAGE_ROOT": str(root), "STOWAGE_CONTENT_URL": url, **environ}
    return subprocess.run([sys.executable, *arguments], env=settings, capture_output=True, text=True, timeout=60, check=False)


def stowage(root: Path, url: str, *arguments: str, **environ: str) -> tuple[int, str, str]:
    done = run(root, url, "-m", "stowage", *arguments, **environ)
    return done.returncode, done.stdout.strip(), done.stderr.strip()


@pytest.fixture
def root(tmp_path: Path, bucket_url: str) -> Path:
    """The root of a store with an image in the bucket."""
    made = run(tmp_path / "one", bucket_url, "-c", STORE)
    assert made.returncode == 0, made.stderr
    return tmp_path / "one"


def test_an_image_in_a_bucket_is_whole(root: Path, bucket_url: str) -> None:
    assert stowage(root, bucket_url, "verify") == (0, "every image is whole", "")
    assert stowage(root, bucket_url, "gc") == (0, "removed 0 blobs, freed 0 bytes", "")
    assert not (root / "blobs").exists()


def test_another_store_is_refused(root: Path, bucket_url: str, tmp_path: Path) -> None:
    status, _, _ = stowage(tmp_path / "two", bucket_url, "db", "upgrade")
    assert status == 0
    status, _, problem = stowage(tmp_path / "two", bucket_url, "gc")
    assert (status, "the bucket belongs to another store" in problem) == (2, True)
    assert stowage(root, bucket_url, "verify")[0] == 0


def test_a_copy_elsewhere_is_refused_until_it_adopts_the_bucket(root: Path, bucket_url: str, seaweedfs: Seaweed) -> None:
    mark = seaweedfs.request("GET", _path(bucket_url))[1]
    identifier, owner = mark.decode().split("\n")[:2]
    seaweedfs.request("PUT", _path(bucket_url), payload=f"{identifier}\nsqlite on another machine\n".encode())
    status, _, problem = stowage(root, bucket_url, "gc")
    assert status == 2
    assert f"in another database (sqlite on another machine, not {owner})" in problem
    assert stowage(root, bucket_url, "adopt")[1].endswith(f"belongs to {owner}, no longer to sqlite on another machine")
    assert stowage(root, bucket_url, "verify")[0] == 0


def test_a_database_with_images_does_not_claim_an_empty_bucket(root: Path, bucket_url: str) -> None:
    other = bucket_url.replace("?", "-other?")
    status, _, problem = stowage(root, other, "gc")
    assert (status, "the bucket has no mark that it belongs to this database, and the database is not empty" in problem) == (2, True)


def test_an_empty_database_claims_only_one_bucket(bucket_url: str, seaweedfs: Seaweed, tmp_path: Path) -> None:
    """One address may lead two nodes to two buckets, each of which would lack what the other has."""
    root, other = tmp_path / "two", bucket_url.replace("?", "-other?")
    assert stowage(root, bucket_url, "db", "upgrade")[0] == 0
    assert stowage(root, bucket_url, "gc")[0] == 0
    status, _, problem = stowage(root, other, "gc")
    assert (status, "and the database has claimed another bucket or folder" in problem) == (2, True)
    assert seaweedfs.request("GET", _path(other))[0] == 404
    assert stowage(root, other, "adopt")[0] == 0
    assert stowage(root, other, "gc")[0] == 0


def test_a_bucket_that_could_not_be_written_is_claimed_by_the_next_start(bucket_url: str, seaweedfs: Seaweed, tmp_path: Path) -> None:
    assert stowage(tmp_path / "two", bucket_url, "db", "upgrade")[0] == 0
    with FaultyBucket(seaweedfs).running() as faulty:
        url = bucket_url.replace(seaweedfs.endpoint, faulty.endpoint)
        faulty.fail(Fault(method="PUT", status=403, code="AccessDenied"))
        status, _, problem = stowage(tmp_path / "two", url, "gc")
        assert (status, "denies access (AccessDenied)" in problem) == (2, True)
        faulty.faults.clear()
        assert stowage(tmp_path / "two", url, "gc")[0] == 0


def test_nodes_that_start_at_once_claim_one_bucket(bucket_url: str, tmp_path: Path) -> None:
    root = tmp_path / "two"
    assert stowage(root, bucket_url, "db", "upgrade")[0] == 0
    with ThreadPoolExecutor(4) as nodes:
        assert [done[0] for done in nodes.map(lambda _: stowage(root, bucket_url, "gc"), range(4))] == [0] * 4
    with ThreadPoolExecutor(2) as nodes:
        others = [bucket_url.replace("?", f"-{number}?") for number in range(2)]
        assert stowage(tmp_path / "three", bucket_url, "db", "upgrade")[0] == 0
        assert sorted(done[0] for done in nodes.map(lambda url: stowage(tmp_path / "three", url, "gc"), others)) == [0, 2]


def test_an_empty_database_does_not_claim_a_bucket_with_objects(root: Path, bucket_url: str, seaweedfs: Seaweed, tmp_path: Path) -> None:
    seaweedfs.request("DELETE", _path(bucket_url))
    assert stowage(tmp_path / "two", bucket_url, "db", "upgrade")[0] == 0
    status, _, problem = stowage(tmp_path / "two", bucket_url, "gc")
    assert (status, "and it is not empty" in problem) == (2, True)


def test_an_unreachable_bucket_is_a_sentence(root: Path) -> None:
    status, _, problem = stowage(root, "s3://some-bucket/store?endpoint=http://127.0.0.1:9", "serve")
    assert (status, problem) == (2, "stowage: STOWAGE_CONTENT_URL: the bucket some-bucket cannot be reached, or did not answer in time.")


def test_settings_show_no_credentials(root: Path, bucket_url: str, seaweedfs: Seaweed) -> None:
    shown = stowage(root, bucket_url, "settings")[1]
    assert "s3://" in shown
    assert not [value for value in seaweedfs.environ().values() if value in shown]


def test_credentials_in_the_url_are_refused_and_not_shown() -> None:
    with pytest.raises(ConfigError, match="must be s3://BUCKET/PREFIX") as caught:
        Config.from_environ({"STOWAGE_CONTENT_URL": "s3://key:secret@some-bucket/store"})
    assert "secret@" not in str(caught.value)


def _path(url: str) -> str:
    """The path of the mark."""
    return f"/{url.removeprefix('s3://').partition('?')[0]}/store-id"
