"""`stowage copy --to-content`: a whole store moves between folders and buckets, and between databases.

Every command runs in a process of its own, as obstore needs.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from stowage.services.content.bucket import PART_BYTES
from stowage.services.content.paths import Layout as Folders
from stowage.services.metadata.database import open_engine as open_database
from stowage.services.metadata.database import transaction
from stowage.services.oci.digest import Digest
from tests.builders import Layout, digest_of, make_layer, make_tar, simple_layout
from tests.damage import flip, lose, shorten
from tests.postgresql import Cluster
from tests.seaweedfs import Seaweed

LARGE = make_tar({"large": random.Random(1).randbytes(2 * PART_BYTES + 1000)})

LOAD = """
import sys
from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.app.wiring import build_engine

client = create_app(Config.from_environ(), build=build_engine).test_client()
for archive in sys.argv[1:]:
    with open(archive, "rb") as file:
        answer = client.post("/images/load", input_stream=file)
        assert b"Loaded image" in answer.data, answer.data
"""

ANSWERS = """
import hashlib, json, sys
from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.app.wiring import build_engine

client = create_app(Config.from_environ(), build=build_engine).test_client()
paths = ["/images/json?all=1&manifests=1", "/system/df", f"/events?since=0&until={sys.argv[1]}"]
for name in ("simple:latest", "large:latest"):
    paths += [f"/images/{name}/json?manifests=1", f"/images/{name}/history"]
    with client.get(f"/images/{name}/get") as saved:
        assert saved.status_code == 200
        print(json.dumps([name, hashlib.sha256(saved.data).hexdigest()]))
for path in paths:
    print(json.dumps([path, client.get(path).data.decode()]))
"""

KILLED = """
import itertools, os, signal, sys
from stowage.app.commands import copy
from stowage.app.cli import main
from stowage.services.content import copying

module, name, calls = sys.argv[1:4]
module = {"copying": copying, "copy": copy}[module]
original, count = getattr(module, name), itertools.count(1)

def call(*arguments, **options):
    if next(count) == int(calls):
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(module, name, call)
sys.exit(main(sys.argv[4:]))
"""

COUNTED = """
import sys
from stowage.app.cli import main
from stowage.services.content.copying import _Run

original = _Run.copy

def copy(self, digest, size):
    print("sent", digest)
    return original(self, digest, size)

_Run.copy = copy
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Store:
    """A pair of backends, and a root."""

    root: Path
    database: str
    content: str

    def run(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run Python with the settings of this store. One blob is copied at a time, unless the test says otherwise."""
        settings = {"STOWAGE_ROOT": str(self.root), "STOWAGE_DATABASE_URL": self.database, "STOWAGE_CONTENT_URL": self.content}
        environ = {**os.environ, **settings, "STOWAGE_CONCURRENT_UPLOADS": "1", **environ}
        return subprocess.run([sys.executable, *arguments], env=environ, capture_output=True, text=True, timeout=120, check=False)

    def stowage(self, *arguments: str, **environ: str) -> tuple[int, str, str]:
        done = self.run("-m", "stowage", *arguments, **environ)
        return done.returncode, done.stdout.strip(), done.stderr.strip()

    def answers(self) -> dict[str, str]:
        """What the store says, and the digests of saved images; events only until it was filled, since a save is one too."""
        done = self.run("-c", ANSWERS, (self.root.parent / "filled").read_text())
        assert done.returncode == 0, done.stderr
        return dict(json.loads(line) for line in done.stdout.splitlines())


Place = Callable[[str, str], Store]


def to(target: Store) -> list[str]:
    return ["copy", "--to-database", target.database, "--to-content", target.content]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Returns an empty pair of backends, of "sqlite" or "postgresql" and "folder" or "bucket"."""
    created: list[str] = []

    def make(database: str, content: str) -> Store:
        root = tmp_path / f"store{len(created)}"
        created.append(f"copy_{uuid4().hex[:8]}" if database == "postgresql" else "")
        url = f"sqlite:///{root}/stowage.db"
        if database == "postgresql":
            cluster: Cluster = request.getfixturevalue("postgresql")
            url = cluster.create_database(created[-1])
        if content == "folder":
            return Store(root, url, str(root))
        request.getfixturevalue("bucket_url")  # for the credentials
        seaweedfs: Seaweed = request.getfixturevalue("seaweedfs")
        return Store(root, url, seaweedfs.url(request.getfixturevalue("bucket"), f"copies/{uuid4().hex}"))

    yield make
    for name in filter(None, created):
        request.getfixturevalue("postgresql").drop_database(name)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in SQLite and a folder with two images, one of which has a blob of several parts, and events."""
    folder = tmp_path_factory.mktemp("filled")
    root = folder / "store"
    return fill(Store(root, f"sqlite:///{root}/stowage.db", str(root)), folder)


@pytest.fixture(scope="module")
def answers(filled: Store) -> dict[str, str]:
    """What every copy of the store answers."""
    return filled.answers()


@pytest.fixture
def source(place: Place, tmp_path: Path, filled: Store) -> Store:
    """The store, in a folder of its own."""
    shutil.copytree(filled.root.parent, tmp_path, dirs_exist_ok=True)
    store = place("sqlite", "folder")
    (tmp_path / "store").rename(store.root)
    return store


def fill(store: Store, tmp_path: Path) -> Store:
    layout = Layout()
    layout.tag(layout.image([make_layer("base"), LARGE], compression="none"), "docker.io/library/large:latest")
    for name, each in {"simple": simple_layout(), "large": layout}.items():
        (tmp_path / f"{name}.tar").write_bytes(each.to_tar())
    store.root.mkdir()
    assert store.stowage("db", "upgrade")[0] == 0
    loaded = store.run("-c", LOAD, f"{tmp_path}/simple.tar", f"{tmp_path}/large.tar")
    assert loaded.returncode == 0, loaded.stderr
    (tmp_path / "filled").write_text(f"{time.time():.9f}")
    return store


def execute(url: str, statement: str) -> list[tuple[Any, ...]]:
    engine = open_database(url)
    with transaction(engine, writes=True) as connection:
        result = connection.exec_driver_sql(statement)
        found = list(map(tuple, result)) if result.returns_rows else []
    engine.dispose()
    return found


def blob_path(store: Store, digest: str) -> Path:
    return Folders(Path(store.content)).blob(Digest.parse(digest))


def test_there_and_back_is_the_same_store(source: Store, place: Place, answers: dict[str, str]) -> None:
    assert answers.keys() > {"simple:latest", "large:latest"}
    assert '"load"' in next(answer for path, answer in answers.items() if path.startswith("/events"))
    there, back = place("postgresql", "bucket"), place("sqlite", "folder")
    status, said, problem = source.stowage(*to(there), STOWAGE_CONCURRENT_UPLOADS="3")
    assert (status, problem) == (0, "")
    assert said.startswith("copied and verified 7 blobs, 16.8MB, and ")
    assert there.answers() == answers
    assert there.stowage("verify", "--deep") == (0, "every image is whole", "")
    assert {location.partition("-")[0] for (location,) in execute(there.database, "SELECT location FROM blob")} == {"blobs/sha256"}

    assert there.stowage(*to(back), STOWAGE_CONCURRENT_UPLOADS="3")[0] == 0
    assert back.answers() == answers
    assert back.stowage("verify", "--deep") == (0, "every image is whole", "")
    assert back.stowage("gc") == (0, "removed 0 blobs, freed 0 bytes", "")
    assert source.answers() == answers


@pytest.mark.parametrize(("first", "second"), [("folder", "folder"), ("bucket", "bucket")])
def test_it_goes_between_equal_backends(first: str, second: str, place: Place, tmp_path: Path) -> None:
    source, target = fill(place("sqlite", first), tmp_path), place("sqlite", second)
    before = source.answers()
    status, said, problem = source.stowage(*to(target))
    assert (status, problem) == (0, "")
    assert said.splitlines()[1:] == [f"STOWAGE_DATABASE_URL={target.database}", f"STOWAGE_CONTENT_URL={quoted(target)}"]
    assert (target.answers(), source.answers()) == (before, before)


def quoted(store: Store) -> str:
    return store.content if store.content.startswith("/") else f"'{store.content}'"


def test_the_copy_goes_on_as_a_store_of_its_own(source: Store, place: Place, tmp_path: Path, answers: dict[str, str]) -> None:
    """What is deleted there and loaded again gets another object, and nothing is left over."""
    target = place("postgresql", "bucket")
    assert source.stowage(*to(target))[0] == 0
    script = LOAD.replace("for archive", "assert client.delete('/images/large:latest').status_code == 200\nfor archive")
    done = target.run("-c", script, f"{tmp_path}/large.tar")
    assert done.returncode == 0, done.stderr
    assert target.answers()["large:latest"] == answers["large:latest"]
    assert target.stowage("verify", "--deep") == (0, "every image is whole", "")


def test_objects_that_are_written_or_removed_are_left_out(place: Place, tmp_path: Path) -> None:
    source, target = fill(place("postgresql", "bucket"), tmp_path), place("postgresql", "folder")
    execute(source.database, "INSERT INTO doomed (location, size, since) VALUES ('blobs/gone', 1, 1)")
    execute(source.database, "INSERT INTO lease (id, note, alive_until, expires_at) VALUES ('one', '', 1, 1)")
    execute(source.database, "INSERT INTO intent (location, lease, written) VALUES ('blobs/new', 'one', 1)")
    assert source.stowage(*to(target))[0] == 0
    assert execute(target.database, "SELECT location FROM doomed UNION ALL SELECT location FROM intent") == []
    assert execute(target.database, "SELECT DISTINCT location FROM blob") == [("",)]


@pytest.mark.parametrize(("spoil", "backend"), [(lose, "bucket"), (shorten, "folder"), (flip, "bucket")], ids=["lost", "shorter", "other"])
def test_a_damaged_blob_is_named_and_the_copy_continues_when_it_is_mended(
    spoil: Callable[[Path], None], backend: str, source: Store, place: Place, answers: dict[str, str]
) -> None:
    target, digest = place("sqlite", backend), digest_of(LARGE)
    whole = blob_path(source, digest).read_bytes()
    spoil(blob_path(source, digest))
    status, said, problem = source.stowage(*to(target))
    assert (status, said) == (1, "")
    first, last = problem.splitlines()
    assert first.startswith(f"stowage: blob {digest} ")
    assert last.startswith("stowage: the copy is not complete, since 1 of 7 blobs could not be read. 'stowage verify' names the images")
    assert execute(target.database, "SELECT * FROM blob") == []
    assert "is not complete" in target.stowage("gc")[2]

    blob_path(source, digest).write_bytes(whole)
    done = source.run("-c", COUNTED, *to(target))
    assert [line for line in done.stdout.splitlines() if line.startswith("sent")] == [f"sent {digest}"]
    assert done.returncode == 0
    assert target.answers() == source.answers() == answers


@pytest.mark.parametrize(
    ("module", "name", "calls", "sent"),
    [
        pytest.param("copying", "_read", "1", 7, id="before the first", marks=pytest.mark.long),
        pytest.param("copying", "_read", "6", None, id="among blobs"),
        pytest.param("copy", "copy_rows", "1", 0, id="before the rows", marks=pytest.mark.long),
        pytest.param("copy", "finish_copy", "1", 0, id="before the mark"),
    ],
)
@pytest.mark.parametrize("backend", ["folder", "bucket"])
def test_one_that_was_killed_is_continued(
    module: str, name: str, calls: str, sent: int | None, backend: str, source: Store, place: Place, answers: dict[str, str]
) -> None:
    target = place("postgresql" if backend == "bucket" else "sqlite", backend)
    killed = source.run("-c", KILLED, module, name, calls, *to(target))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for command in ("gc", "serve"):
        status, _, problem = target.stowage(command)
        assert (status, "the copy of a store to this place is not complete" in problem) == (2, True)

    done = source.run("-c", COUNTED, *to(target))
    assert done.returncode == 0, done.stderr
    again = done.stdout.count("sent ")
    assert again == sent if sent is not None else 0 < again < 7
    assert target.answers() == source.answers() == answers
    assert target.stowage("gc")[0] == 0
    assert target.stowage("verify", "--deep") == (0, "every image is whole", "")


def test_a_large_blob_that_was_cut_in_the_middle_does_not_appear(source: Store, place: Place, answers: dict[str, str]) -> None:
    target = place("sqlite", "bucket")
    others = sum(digest < digest_of(LARGE) for (digest,) in execute(source.database, "SELECT digest FROM blob"))
    killed = source.run("-c", KILLED, "copying", "_read", str(2 * others + 3), *to(target))  # two parts are read, and the third is not
    assert killed.returncode == -signal.SIGKILL
    done = source.run("-c", COUNTED, *to(target))
    assert f"sent {digest_of(LARGE)}" in done.stdout
    assert target.answers() == source.answers() == answers


def test_a_complete_copy_is_not_replaced(source: Store, place: Place, answers: dict[str, str]) -> None:
    for target in (place("sqlite", "folder"), place("postgresql", "bucket")):
        assert source.stowage(*to(target))[0] == 0
        assert source.stowage(*to(target)) == (
            1,
            "",
            "stowage: there is a store where --to-content says, or the unfinished copy of another one",
        )
        assert target.answers() == answers


def test_a_store_in_the_other_database_is_left_alone(source: Store, place: Place, answers: dict[str, str]) -> None:
    used, free = place("sqlite", "folder"), place("sqlite", "folder")
    assert source.stowage(*to(used))[0] == 0
    mixed = Store(free.root, used.database, free.content)
    assert source.stowage(*to(mixed)) == (1, "", "stowage: there is a store in the other database")
    assert not Path(free.content, "store-id").exists()
    assert used.answers() == answers


def test_an_unfinished_copy_does_not_take_another_database(source: Store, place: Place) -> None:
    """A database whose rows differ from those that would be copied, although it has the same id."""
    target = place("sqlite", "folder")
    assert source.run("-c", KILLED, "copy", "finish_copy", "1", *to(target)).returncode == -signal.SIGKILL
    execute(target.database, "UPDATE image SET updated_at = updated_at + 1")
    status, _, problem = source.stowage(*to(target))
    assert (status, "there is a store in the other database, which is no copy of this one" in problem) == (1, True)


@pytest.mark.parametrize("backend", ["folder", "bucket"])
def test_blobs_of_somebody_else_are_left_alone(backend: str, source: Store, place: Place, seaweedfs: Seaweed) -> None:
    target = place("sqlite", backend)
    if backend == "folder":
        digest = digest_of(b"foreign")
        blob_path(target, digest).parent.mkdir(parents=True)
        blob_path(target, digest).write_bytes(b"foreign")
    else:
        seaweedfs.request("PUT", f"/{target.content.removeprefix('s3://').partition('?')[0]}/blobs/foreign", payload=b"foreign")
    status, _, problem = source.stowage(*to(target))
    assert (status, problem.startswith("stowage: there are ")) == (1, True)
    assert not Path(target.database.removeprefix("sqlite:///")).exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--to-content", "/other"], "--to-database must name another database: blobs in another place need a database of their own."),
        ([], "--to-database must name another database."),
        (["--to-database", "sqlite:////other.db", "--to-content", ""], "--to-content must name another folder or bucket."),
        (["--to-database", "sqlite:////other.db", "--to-content", "ftp://x"], "--to-content must be a folder, file:///FOLDER or s3://"),
        (["--to-database", "sqlite:////other.db", "--to-content", "the same"], "--to-content must name another folder or bucket."),
    ],
)
def test_it_says_what_it_needs(options: list[str], problem: str, source: Store) -> None:
    options = [source.content if option == "the same" else option for option in options]
    status, _, said = source.stowage("copy", *options)
    assert (status, said.startswith(f"stowage: {problem}")) == (2, True)


def test_it_is_refused_while_a_service_runs(source: Store, place: Place) -> None:
    target = place("sqlite", "folder")
    environ = {**os.environ, "STOWAGE_ROOT": str(source.root)}
    service = subprocess.Popen([sys.executable, "-m", "stowage", "serve"], stderr=subprocess.PIPE, text=True, env=environ)
    assert service.stderr is not None
    try:
        assert any("is ready on" in line for line in service.stderr)
        status, _, problem = source.stowage(*to(target))
    finally:
        service.terminate()
        service.communicate(timeout=30)
    assert (status, problem) == (2, f"stowage: STOWAGE_ROOT: another service is running on {source.root}.")
    assert not target.root.exists()
