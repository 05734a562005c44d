"""What deploy/ ships is described in docs/deployment.md, and says only what is true of this version."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from stowage.app.origin import is_known_host
from stowage.app.settings import SETTINGS, Config

ROOT = Path(__file__).parents[1]
SHIPPED = sorted(path for path in (ROOT / "deploy").iterdir() if path.suffix in (".conf", ".service", ".timer", ".json", ".yml"))
UNIT = ROOT / "deploy" / "stowage.service"
TEMPLATE = ROOT / "deploy" / "stowage@.service"
COLLECTION = ROOT / "deploy" / "stowage-gc.service"
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
    assert [f"server {bind} max_fails=0;" in site for bind in config.bind] == [True]


def test_every_shipped_file_is_installed() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.package_data"]["stowage.deploy"].split(", ") == sorted(path.name for path in SHIPPED)


def lines(unit: Path) -> set[str]:
    return {line for line in unit.read_text().splitlines() if line and not line.startswith("#")}


def test_the_collection_works_on_the_store_of_the_service_and_may_do_no_more() -> None:
    service, collection = lines(UNIT), lines(COLLECTION)
    assert {line for line in collection - service if not line.startswith(("Description=", "After="))} == {
        "Type=oneshot",
        "ExecStart=/opt/stowage/.venv/bin/stowage gc",
        "Nice=19",
        "IOSchedulingClass=idle",
    }
    missing = {line.partition("=")[0] for line in service - collection}
    assert not any(name.startswith(("Protect", "Private", "Restrict", "SystemCall", "Capability", "NoNew")) for name in missing)
    # It would remove the folder of the service's socket when it ends.
    assert "RuntimeDirectory" in missing


def test_each_node_of_a_machine_has_its_own_places_and_may_do_no_more_than_one_alone() -> None:
    node = {line.replace("-%i", "").replace(", node %i", "") for line in lines(TEMPLATE)}
    assert node - lines(UNIT) == {"EnvironmentFile=/etc/stowage/stowage.env"}
    assert lines(UNIT) - node == {"EnvironmentFile=-/etc/stowage/stowage.env"}
    assert sum("%i" in line for line in lines(TEMPLATE)) == 6


def test_systemd_knows_every_line_of_the_units(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    units = {path.name.replace("@", "@1"): path.read_text() for path in SHIPPED if path.suffix in (".service", ".timer")}
    for name, text in units.items():
        (tmp_path / name).write_text(text.replace("/opt/stowage/.venv/bin/stowage", "/bin/true"))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *(str(tmp_path / name) for name in units)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (verified.returncode, verified.stderr) == (0, "")
