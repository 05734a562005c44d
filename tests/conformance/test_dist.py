"""`make dist`: the same bytes from the same commit, and one file that serves under every version of Python that it names."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.builders import simple_layout
from tests.conformance.conftest import STOWAGE, needs
from tests.conformance.installations import Installed, copy_tree, make_other_project, run, serves_docker
from tests.once import made_once
from tests.ports import free_port

pytestmark = pytest.mark.timeout(900)  # two builds, with what the package index gives them

NOBODY = 65534
PYTHONS = ["python3.11", *(pytest.param(name, marks=pytest.mark.matrix) for name in ("python3.12", "python3.13"))]
BUILT = ["SHA256SUMS", "stowage-0.1.0-py3-none-any.whl", "stowage-0.1.0.tar.gz", "stowage.pyz"]
COMMIT = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
AUTHOR = ("-c", "user.name=test", "-c", "user.email=test@localhost", "-c", "commit.gpgsign=false")


def build(folder: Path, umask: str) -> Path:
    """The folder dist/ of a commit of this tree, which is always the same."""
    clone = copy_tree(folder / "clone")
    run("git", "init", "--quiet", cwd=clone)
    run("git", "add", "--all", cwd=clone)
    run("git", *AUTHOR, "commit", "--quiet", "--message", "all", cwd=clone, environment=COMMIT)
    (clone / "app" / "unfinished.py").write_text("not committed")
    run("sh", "-c", f"umask {umask} && exec .ci/make-dist", cwd=clone, environment={"BIN": str(Path(sys.executable).parent)})
    return clone / "dist"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of a commit of this tree."""
    needs("git")
    return made_once(tmp_path_factory, "dist", lambda folder: build(folder, "022")) / "clone" / "dist"


@pytest.fixture
def pyz(built: Path, tmp_path: Path) -> Path:
    """The single file alone in a folder, as a job has fetched it."""
    return Path(shutil.copy(built / "stowage.pyz", tmp_path))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a user whose cache is empty at first."""
    return {"HOME": str(tmp_path_factory.mktemp("home")), "XDG_CACHE_HOME": "", "PYTHONPATH": "."}


def interpreter(name: str) -> str:
    """The path of a Python that is installed, if only for pyenv."""
    found = [
        shutil.which(name, path="/usr/bin:/usr/local/bin"),
        *Path.home().glob(f".pyenv/versions/{name.removeprefix('python')}*/bin/{name}"),
    ]
    if not any(found):
        pytest.skip(f"{name} is not installed")
    return str(next(filter(None, found)))


@pytest.mark.matrix
def test_the_same_commit_gives_the_same_bytes_to_a_user_with_other_habits(built: Path, tmp_path: Path) -> None:
    sums = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
        for folder in (built, build(tmp_path, "077"))
    ]
    assert sums[0] == sums[1]


def test_a_build_is_three_files_and_their_sums(built: Path) -> None:
    assert sorted(os.listdir(built)) == BUILT
    run("sha256sum", "--check", "SHA256SUMS", cwd=built)


def test_the_sdist_holds_all_that_is_committed_and_nothing_else(built: Path) -> None:
    committed = set(run("git", "ls-files", cwd=built.parent).split()) - {".gitignore"}
    with tarfile.open(built / "stowage-0.1.0.tar.gz") as sdist:
        members = {member.name.partition("/")[2] for member in sdist if member.isfile()}
    assert {name for name in members if not name.startswith("stowage.egg-info/")} == committed | {"PKG-INFO"}


@pytest.mark.parametrize("name", PYTHONS)
def test_the_single_file_serves(name: str, pyz: Path, cache: dict[str, str], tmp_path: Path) -> None:
    needs("docker")
    project = make_other_project(tmp_path / "project")
    command = [interpreter(name), str(pyz)]
    service = Installed(tmp_path / "root", free_port(), cache, command=[*command, "serve"], folder=project)
    serves_docker(service, simple_layout().to_tar())
    environment = {**cache, "STOWAGE_ROOT": str(service.root)}
    assert run(*command, "verify", cwd=project, environment=environment).endswith("every image is whole\n")
    assert run(*command, "gc", cwd=project, environment=environment).startswith("removed 0 blobs")
    version = run(*command, "--version", cwd=project, environment=environment)
    assert version == run(*STOWAGE, "--version", cwd=tmp_path)


@pytest.mark.parametrize("name", PYTHONS)
def test_the_single_file_has_the_driver_of_postgresql(name: str, pyz: Path, cache: dict[str, str], tmp_path: Path) -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/images"
    environment = {**cache, "STOWAGE_ROOT": str(tmp_path / "root"), "STOWAGE_DATABASE_URL": url}
    command = [interpreter(name), str(pyz), "db", "upgrade"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "the database is unreachable: " in done.stderr


def test_the_single_file_runs_where_no_cache_can_be_written(pyz: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become a user without a home")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        environment = {"HOME": "/nonexistent", "TMPDIR": folder, "PATH": "/usr/bin:/bin"}
        command = [shutil.copy(pyz, folder), "--version"]
        done = subprocess.run(
            command, cwd=folder, env=environment, user=NOBODY, group=NOBODY, extra_groups=[], capture_output=True, timeout=300
        )
        assert (done.returncode, done.stdout) == (0, b"stowage 0.1.0\n")
        assert os.listdir(folder) == ["stowage.pyz"]
