"""What deploy/ ships is described in docs/deployment.md, and says only what is true of this version."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stowage.origin import is_known_host
from stowage.settings import SETTINGS, Config

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(path for path in (ROOT / "deploy").iterdir() if path.suffix in (".conf", ".service", ".json", ".yml"))
UNIT = ROOT / "deploy" / "stowage.service"
SITE = ROOT / "deploy" / "nginx.conf"
DOCUMENT = ROOT / "docs" / "deployment.md"


@pytest.mark.parametrize(
    "host",
    [
        *(
            "localhost",
            "LOCALHOST:2375",
            "127.0.0.1:2375",
            "192.0.2.1",
            "[::1]:2375",
            "[2001:DB8::1]",
            "docker:2375",
            "a_b-c",
            "api.moby.localhost",
        ),
        *(
            "host.docker.internal:2375",
            "docker.example.com",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "evil-localhost.example",
        ),
        *(
            "xinternal.example",
            "a.docker.example.com",
            "example.com",
            "[",
            "[::1",
            "localhost:",
            "localhost:1:2",
            "evil.example@localhost",
            "localhost.",
        ),
        *(
            "localhost#.evil.example",
            "localhost/.evil.example",
            "%6cocalhost",
            "127.1",
            ".localhost",
            "a..localhost",
            "local host",
            "localhost:123456",
            "é",
        ),
    ],
)
def test_the_site_knows_the_same_hosts_as_the_service(host: str) -> None:
    block = re.search(r'map "\$https \$stowage_host" \$stowage_foreign_host \{(.*?)\n\}', SITE.read_text(), re.DOTALL)
    assert block is not None
    patterns = re.findall(r'^ +"~(\*?)(.*)" +0;$', block[1], re.MULTILINE)
    assert len(patterns) == 6
    matched = any(re.search(pattern, f" {host}", re.IGNORECASE if star else 0) for star, pattern in patterns)
    assert matched is is_known_host(host, ())


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_a_shipped_file_is_described(path: Path) -> None:
    assert f"deploy/{path.name}" in DOCUMENT.read_text()


@pytest.mark.parametrize("path", [*SHIPPED, DOCUMENT], ids=lambda path: path.name)
def test_only_settings_that_exist_are_named(path: Path) -> None:
    named = set(re.findall(r"STOWAGE_[A-Z_]*[A-Z]", path.read_text()))
    assert named <= {setting.name for setting in SETTINGS.values()}


def test_the_settings_of_the_unit_are_accepted_and_meet_the_site() -> None:
    environment = dict(line.split("=", 2)[1:] for line in UNIT.read_text().splitlines() if line.startswith("Environment="))
    config = Config.from_environ(environment)
    site = SITE.read_text()
    assert [f"server {bind};" in site for bind in config.bind] == [True]


def test_systemd_knows_every_line_of_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/stowage/.venv/bin/stowage", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)], capture_output=True, text=True, timeout=60
    )
    assert (verified.returncode, verified.stderr) == (0, "")
