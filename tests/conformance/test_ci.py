"""The jobs of docs/ci.md: their shell steps run as a runner would run them, against a registry that wants a login."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.builders import simple_layout
from tests.conformance.conftest import REPOSITORY, needs, skopeo
from tests.conformance.test_registry_auth import PASSWORD, registry_that_wants_a_login

DOCUMENT = (REPOSITORY / "docs" / "ci.md").read_text()
ACTIONS, GITLAB = (yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE))
SCRIPT = re.search(r"^```sh\n(# ci/promote\.sh\n.*?)^```$", DOCUMENT, re.DOTALL | re.MULTILINE)
SINGLE_FILE = "import sys\n\nfrom stowage.app.cli import main\n\nsys.exit(main())\n"
"""Stands for the single-file build."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry with the image that has been tested."""
    needs("skopeo")
    folder = tmp_path / "registry"
    folder.mkdir()
    (folder / "image.tar").write_bytes(simple_layout().to_tar())
    with registry_that_wants_a_login(folder) as host:
        options = ["--dest-creds", f"user:{PASSWORD}", "--dest-tls-verify=false"]
        skopeo("copy", *options, f"oci-archive:{folder}/image.tar", f"docker://{host}/team/app:tested")
        yield host


def workspace(folder: Path) -> Path:
    """A checkout of a project with the two files that the document asks for."""
    assert SCRIPT is not None
    (folder / "ci").mkdir(parents=True)
    (folder / "ci" / "promote.sh").write_text(SCRIPT[1])
    (folder / "ci" / "stowage.pyz").write_text(SINGLE_FILE)
    return folder


def run_steps(folder: Path, script: str, variables: dict[str, str]) -> None:
    """Run a script in the workspace, with a home of its own and nothing to install."""
    tools = folder / "tools"
    tools.mkdir(exist_ok=True)
    for name, line in {"python3": f'exec {sys.executable} "$@"', "apt-get": ":"}.items():
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755)
    environment = {"PATH": f"{tools}:{os.environ['PATH']}", "HOME": str(folder / "home"), "LANG": "C.UTF-8", **variables}
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


def check(folder: Path, registry: str) -> None:
    """The image has been promoted and saved, and no secret is left in what is kept."""
    credentials = f"user:{PASSWORD}"
    promoted = skopeo("inspect", "--raw", "--creds", credentials, "--tls-verify=false", f"docker://{registry}/team/app:production")
    assert promoted == skopeo("inspect", "--raw", "--creds", credentials, "--tls-verify=false", f"docker://{registry}/team/app:tested")
    with tarfile.open(folder / "app.tar") as archive:
        assert "manifest.json" in archive.getnames()
    kept = [folder / "stowage.log", *(path for path in (folder / "images").rglob("*") if path.is_file())]
    assert len(kept) > 3
    assert [path for path in kept if PASSWORD.encode() in path.read_bytes()] == []


def from_cache(folder: Path, cached: Path, paths: list[str]) -> Path:
    """A new workspace with what a cache of these paths brings."""
    workspace(folder)
    for path in paths:
        shutil.copytree(cached / path, folder / path)
    return folder


def run_actions(folder: Path, registry: str) -> None:
    """Run the steps that have a `run`, each in a shell of its own."""
    values = {"vars.REGISTRY": registry, "vars.REGISTRY_USER": "user", "secrets.REGISTRY_PASSWORD": PASSWORD}
    (job,) = ACTIONS["jobs"].values()
    for step in job["steps"]:
        declared: dict[str, Any] = {**job["env"], **step.get("env", {})}
        variables = {name: re.sub(r"\$\{\{ (.*?) \}\}", lambda match: values[match[1]], value) for name, value in declared.items()}
        run_steps(folder, step.get("run", "true"), {**variables, "GITHUB_OUTPUT": str(folder / "output")})


def test_the_job_for_github_actions(registry: str, tmp_path: Path) -> None:
    (cache,) = [step["with"] for step in ACTIONS["jobs"]["promote"]["steps"] if step.get("uses", "").startswith("actions/cache@")]
    first = workspace(tmp_path / "1")
    run_actions(first, registry)
    check(first, registry)
    assert re.fullmatch(r"week=\d{4}-\d{2}\n", (first / "output").read_text())
    second = from_cache(tmp_path / "2", first, [cache["path"]])
    run_actions(second, registry)
    check(second, registry)


def test_the_job_for_gitlab(registry: str, tmp_path: Path) -> None:
    job = GITLAB["promote"]
    predefined = {"CI_REGISTRY": registry, "CI_REGISTRY_USER": "user", "CI_REGISTRY_PASSWORD": PASSWORD}
    variables = {name: predefined[value.removeprefix("$")] for name, value in job["variables"].items()}
    script = "\n".join(job["before_script"] + job["script"])
    first = workspace(tmp_path / "1")
    run_steps(first, script, variables)
    check(first, registry)
    second = from_cache(tmp_path / "2", first, job["cache"]["paths"])
    run_steps(second, script, variables)
    check(second, registry)


def test_a_failing_step_of_the_script_fails_the_job(registry: str, tmp_path: Path) -> None:
    folder = workspace(tmp_path / "1")
    with pytest.raises(AssertionError, match="denied|unauthorized|401"):
        run_steps(folder, GITLAB["promote"]["script"][0], {"REGISTRY": registry, "REGISTRY_USER": "user", "REGISTRY_PASSWORD": "wrong"})
    assert not (folder / "app.tar").exists()
