"""What `docker login` stored, in a file or with a helper program."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from stowage.app.docker_login import read_login
from stowage.app.settings import ConfigError
from stowage.services.registry.credentials import Credentials

HOST = "localhost:5000"
HUB = "https://index.docker.io/v1/"
AUTH = base64.b64encode(b"user:pass:word").decode()
FULL = Credentials("user", "pass:word", server_address=HOST)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


def write(folder: Path, **config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))


def helper(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Make the program docker-credential-test."""
    program = folder / "bin" / "docker-credential-test"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


def test_without_a_file_there_are_none() -> None:
    assert read_login(HOST) is None


def test_the_file_may_be_in_the_home_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DOCKER_CONFIG")
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".docker").mkdir()
    write(folder / ".docker", auths={HOST: {"auth": AUTH}})
    assert read_login(HOST) == FULL


@pytest.mark.parametrize(
    ("auths", "domain", "credentials"),
    [
        pytest.param({HOST: {"auth": AUTH}}, HOST, FULL, id="auth"),
        pytest.param({HOST: {"username": "user", "password": "pass:word"}}, HOST, FULL, id="name and password"),
        pytest.param({f"https://{HOST}/v2/": {"auth": AUTH}}, HOST, FULL, id="a URL"),
        pytest.param({HUB: {"auth": AUTH}}, "docker.io", Credentials("user", "pass:word", server_address=HUB), id="docker.io"),
        pytest.param(
            {HOST: {"auth": base64.b64encode(b"user:").decode(), "identitytoken": "token"}},
            HOST,
            Credentials("user", identity_token="token", server_address=HOST),
            id="an identity token",
        ),
        pytest.param({HOST: {}}, HOST, None, id="an empty entry"),
        pytest.param({"localhost:5001": {"auth": AUTH}}, HOST, None, id="another registry"),
    ],
)
def test_the_entry_of_a_registry(folder: Path, auths: object, domain: str, credentials: Credentials | None) -> None:
    write(folder, auths=auths)
    assert read_login(domain) == credentials


def test_a_helper_is_asked_for_the_registry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = """test "$1 $(cat)" = "get localhost:5000" && echo '{"ServerURL": "", "Username": "user", "Secret": "pass:word"}'"""
    helper(folder, monkeypatch, answer)
    for config in ({"credsStore": "test"}, {"credsStore": "absent", "credHelpers": {HOST: "test"}}):
        write(folder, auths={HOST: {}}, **config)
        assert read_login(HOST) == FULL


def test_a_helper_of_another_registry_is_not_asked(folder: Path) -> None:
    write(folder, auths={HOST: {"auth": AUTH}}, credHelpers={"localhost:5001": "absent"})
    assert read_login(HOST) == FULL


def test_a_helper_may_have_an_identity_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(folder, monkeypatch, """echo '{"Username": "<token>", "Secret": "token"}'""")
    write(folder, credsStore="test")
    assert read_login(HOST) == Credentials(identity_token="token", server_address=HOST)


def test_a_helper_may_have_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(folder, monkeypatch, "echo credentials not found in native keychain; exit 1")
    write(folder, credsStore="test")
    assert read_login(HOST) is None


@pytest.mark.parametrize(
    ("script", "words"),
    [
        pytest.param("echo the keychain is locked; exit 1", "no credentials for localhost:5000: the keychain is locked.", id="it says why"),
        pytest.param("exit 3", "it ended with status 3.", id="it says nothing"),
        pytest.param("echo '[]'", "did not answer with credentials", id="another answer"),
    ],
)
def test_a_helper_that_fails_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    helper(folder, monkeypatch, script)
    write(folder, credsStore="test")
    with pytest.raises(ConfigError, match=words):
        read_login(HOST)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param({"credsStore": "absent"}, "cannot run docker-credential-absent", id="a helper that is missing"),
        pytest.param({"auths": {HOST: {"auth": "%"}}}, "Log in again with docker login", id="an entry that is damaged"),
        pytest.param([], "is not a JSON object", id="a list"),
    ],
)
def test_a_wrong_file_is_reported(folder: Path, config: object, words: str) -> None:
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=words):
        read_login(HOST)


def test_a_file_that_is_not_json_is_reported(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="config.json is not JSON"):
        read_login(HOST)
