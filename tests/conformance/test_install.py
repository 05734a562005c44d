"""Every way to install Stowage gives one package, which serves an unmodified docker CLI whatever other projects call theirs."""

from __future__ import annotations

import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.builders import simple_layout
from tests.conformance.conftest import REPOSITORY, needs
from tests.conformance.installations import OTHER_PROJECT, Installed, copy_tree, make_other_project, run, serves_docker
from tests.once import made_once
from tests.ports import free_port

pytestmark = pytest.mark.timeout(900)  # for what the package index gives

CONSTRAINTS = REPOSITORY / "constraints.txt"
LIST_MODULES = "import sys, stowage.app.cli, stowage.wsgi, stowage.app.server.serving; print(*sys.modules)"
FOREIGN = """
[build-system]
requires = ["setuptools==84.2.1"]
build-backend = "setuptools.build_meta"
[project]
name = "foreign"
version = "1"
[tool.setuptools]
packages = ["app", "blueprints", "services"]
"""
DEPLOYED = ("alerts.yml", "grafana.json", "nginx.conf", "stowage-gc.service", "stowage-gc.timer", "stowage.service")


@pytest.fixture(scope="module", autouse=True)
def docker_cli() -> None:
    needs("docker")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip wheel .` makes in a clone."""

    def build(folder: Path) -> None:
        run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, ".", cwd=copy_tree(folder / "clone"))

    (built,) = made_once(tmp_path_factory, "wheel", build).glob("*.whl")
    return built


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a virtual environment with the wheel and its dependencies."""

    def make(folder: Path) -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        run(folder / "bin" / "python", "-m", "pip", "install", "--no-compile", "--constraint", CONSTRAINTS, wheel)

    return made_once(tmp_path_factory, "environment", make) / "bin"


@pytest.fixture
def other_project(tmp_path: Path) -> Path:
    """The current folder of a user, with packages of its own."""
    return make_other_project(tmp_path / "project")


@pytest.fixture
def archive() -> bytes:
    return simple_layout().to_tar()


def installed(root: Path, folder: Path, *command: str | Path, path: str = ".") -> Installed:
    """A service, with the current folder in Python's path as many people have it."""
    return Installed(root, free_port(), {"PYTHONPATH": path}, command=[*map(str, command)], folder=folder)


def test_the_wheel_holds_one_package_with_its_licence_and_what_a_system_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    assert {name.split("/")[0] for name in names} == {"stowage", "stowage-0.1.0.dist-info"}
    shipped = {f"stowage/deploy/{name}" for name in DEPLOYED}
    wanted = {"stowage-0.1.0.dist-info/licenses/LICENSE", *shipped}
    assert wanted <= set(names)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(("stowage",), id="stowage"),
        pytest.param(("python", "-m", "stowage"), id="python -m stowage", marks=pytest.mark.matrix),
    ],
)
def test_the_wheel_serves_in_a_folder_with_packages_of_the_same_names(
    command: tuple[str, ...], environment: Path, other_project: Path, tmp_path: Path, archive: bytes
) -> None:
    serves_docker(installed(tmp_path / "root", other_project, environment / command[0], *command[1:], "serve"), archive)


@pytest.mark.parametrize(
    "clone",
    [
        pytest.param(False, id="stowage.wsgi:app"),
        pytest.param(True, id="wsgi:app in the clone", marks=pytest.mark.matrix),
    ],
)
def test_gunicorn_serves_the_package(clone: bool, environment: Path, other_project: Path, tmp_path: Path, archive: bytes) -> None:
    folder, application = (REPOSITORY, "wsgi:app") if clone else (other_project, "stowage.wsgi:app")
    gunicorn = (sys.executable, "-m", "gunicorn") if clone else (environment / "gunicorn",)
    service = installed(tmp_path / "root", folder, path="")
    addresses = ["--bind", f"unix:{service.socket}", "--bind", f"127.0.0.1:{service.port}"]
    service.command = [*map(str, gunicorn), "--no-control-socket", "--threads", "4", *addresses, application]
    serves_docker(service, archive)


def test_no_module_has_a_bare_name(environment: Path, tmp_path: Path) -> None:
    settings = {"STOWAGE_ROOT": str(tmp_path / "root"), "STOWAGE_BIND": "127.0.0.1:2375"}
    modules = run(environment / "python", "-c", LIST_MODULES, cwd=tmp_path, environment=settings).split()
    assert "stowage.services.engine" in modules
    assert [name for name in modules if name.partition(".")[0] in OTHER_PROJECT] == []


@pytest.mark.matrix
def test_another_distribution_with_the_same_names_comes_and_goes(environment: Path, tmp_path: Path, archive: bytes) -> None:
    foreign = make_other_project(tmp_path / "foreign")
    (foreign / "pyproject.toml").write_text(FOREIGN)
    (foreign / "app" / "__init__.py").write_text("print('foreign')\n")
    run(environment / "python", "-m", "pip", "install", foreign)
    try:
        assert run(environment / "python", "-c", "import app", cwd=tmp_path) == "foreign\n"
        serves_docker(installed(tmp_path / "before", tmp_path, environment / "stowage", "serve"), archive)
    finally:
        run(environment / "python", "-m", "pip", "uninstall", "--yes", "foreign")
    serves_docker(installed(tmp_path / "after", tmp_path, environment / "stowage", "serve"), archive)


def test_the_folder_of_the_unit_and_the_site_is_told(environment: Path, tmp_path: Path) -> None:
    folder = Path(run(environment / "stowage", "deploy-files", cwd=tmp_path).strip())
    assert environment.parent in folder.parents
    for name in DEPLOYED:
        assert (folder / name).read_bytes() == (REPOSITORY / "deploy" / name).read_bytes()


@pytest.mark.matrix
def test_pipx_installs_the_sdist(other_project: Path, tmp_path: Path, archive: bytes) -> None:
    needs("pipx")
    run(sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path, copy_tree(tmp_path / "clone"))
    (sdist,) = tmp_path.glob("*.tar.gz")
    places = {"PIPX_HOME": str(tmp_path / "pipx"), "PIPX_BIN_DIR": str(tmp_path / "bin"), "PIPX_MAN_DIR": str(tmp_path / "man")}
    run("pipx", "install", "--pip-args", f"--no-compile --constraint {CONSTRAINTS}", sdist, environment=places)
    assert subprocess.check_output([tmp_path / "bin" / "stowage", "--version"]) == b"stowage 0.1.0\n"
    serves_docker(installed(tmp_path / "root", other_project, tmp_path / "bin" / "stowage", "serve"), archive)
