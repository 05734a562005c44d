"""`stowage settings`: every setting, its value, and its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from stowage.app.cli import main
from stowage.app.settings import SETTINGS


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in SETTINGS.values():
        monkeypatch.delenv(setting.name, raising=False)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def shown(capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, str], str]:
    """What is printed after each name, with single spaces, and the errors."""
    captured = capsys.readouterr()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in captured.out.splitlines()}, captured.err


def test_every_setting_has_its_value_and_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOWAGE_WORKERS", "3")
    monkeypatch.setenv("STOWAGE_BIND", "127.0.0.1:2375,unix:///run/s.sock")
    monkeypatch.setenv("https_proxy", "http://user:secret@proxy.example:3128")
    assert main(["settings", "--root", str(tmp_path)]) == 0
    lines, errors = shown(capsys)
    assert list(lines) == [*(setting.name for setting in SETTINGS.values()), "https_proxy"]
    assert lines["STOWAGE_ROOT"] == f"{tmp_path} option --root"
    assert lines["STOWAGE_WORKERS"] == "3 environment"
    assert lines["STOWAGE_BIND"] == "127.0.0.1:2375,unix:/run/s.sock environment"
    assert lines["STOWAGE_DATABASE_URL"] == f"sqlite:///{tmp_path}/stowage.db default"
    assert lines["STOWAGE_ALLOW_INSECURE_TCP"] == "0 default"
    assert lines["STOWAGE_HOSTS"] == "default"
    assert lines["https_proxy"] == "http://xxxxx@proxy.example:3128 environment"
    assert errors == ""


def test_wrong_values_are_shown_without_secrets_and_each_has_its_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STOWAGE_WORKERS", "none")
    monkeypatch.setenv("STOWAGE_REGISTRY_MIRRORS", "https://user:secret@mirror.example")
    monkeypatch.setenv("STOWAGE_AUTH_REALMS", "https://user:secret@auth.example")
    monkeypatch.setenv("STOWAGE_TYPO", "secret")
    assert main(["settings", "--bind", "/run/s.sock"]) == 2
    lines, errors = shown(capsys)
    assert lines["STOWAGE_WORKERS"] == "none environment"
    assert lines["STOWAGE_BIND"] == "/run/s.sock option --bind"
    assert lines["STOWAGE_REGISTRY_MIRRORS"] == "https://xxxxx@mirror.example environment"
    names = ("STOWAGE_TYPO", "--bind", "STOWAGE_WORKERS", "STOWAGE_REGISTRY_MIRRORS", "STOWAGE_AUTH_REALMS")
    assert [line.split()[1] for line in errors.splitlines()] == list(names)
    assert "secret" not in f"{lines}{errors}"


def test_values_that_do_not_go_together_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--bind", "0.0.0.0:2375"]) == 2
    lines, errors = shown(capsys)
    assert lines["STOWAGE_BIND"] == "0.0.0.0:2375 option --bind"
    assert errors.startswith("stowage: STOWAGE_BIND: 0.0.0.0:2375 can be reached from other machines;")
