"""The credentials that `docker login` stored: the docker CLI's config.json and the programs that it names.

    config.json := { "auths": { <registry>: <entry> }, "credHelpers": { <registry>: <helper> }, "credsStore": <helper> }
    entry       := { "auth": base64(user:password), "username", "password", "identitytoken", "registrytoken" }, all of them optional

The folder is $DOCKER_CONFIG, or else ~/.docker. A helper is the program `docker-credential-<helper>`: its argument is `get`, its input the
registry, its output `{"Username", "Secret"}`; the user `<token>` means that the secret is an identity token. docker.io is called
`https://index.docker.io/v1/` in all of them.

Source: docker/cli cli/config (configfile, credentials); docker-credential-helpers (client, credentials).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stowage.app.settings import ConfigError
from stowage.services.registry.credentials import Credentials

_HUB = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"
_NOT_FOUND = "credentials not found in native keychain"


def read_login(domain: str) -> Credentials | None:
    """The credentials for a registry by its `host[:port]`, or None if there are none.

    Raises ConfigError for a file that cannot be read, and for a helper that is missing or fails.
    """
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    config = _read_config(path)
    server = _HUB if domain == "docker.io" else domain
    helper = _entry(config, "credHelpers").get(server) or config.get("credsStore")
    if helper:
        return _ask_helper(str(helper), server)
    entry = _find(_entry(config, "auths"), server)
    return _credentials(entry, server, path) if entry else None


def _read_config(path: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise ConfigError(f"cannot read {path}: {exc.strerror}.") from exc
    except ValueError as exc:
        raise ConfigError(f"{path} is not JSON: {exc}.") from None
    if not isinstance(config, dict):
        raise ConfigError(f"{path} is not a JSON object.")
    return config


def _entry(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _find(auths: Mapping[str, Any], server: str) -> Mapping[str, Any]:
    """The entry of a registry, whose key may also be a URL."""
    if server in auths:
        return _entry(auths, server)
    return next((_entry(auths, key) for key in auths if _host(key) == _host(server)), {})


def _host(key: str) -> str:
    return key.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _credentials(entry: Mapping[str, Any], server: str, path: Path) -> Credentials | None:
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if auth := entry.get("auth"):
        try:
            username, colon, password = base64.b64decode(str(auth), validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            colon = ""
        if not colon:
            raise ConfigError(f"{path}: the entry of {server} is damaged. Log in again with docker login.")
    credentials = Credentials(
        username, password.strip("\0"), str(entry.get("identitytoken") or ""), str(entry.get("registrytoken") or ""), server
    )
    return credentials if credentials.secret else None


def _ask_helper(helper: str, server: str) -> Credentials | None:
    program = f"docker-credential-{helper}"
    try:
        done = subprocess.run([program, "get"], input=server, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as exc:
        raise ConfigError(f"cannot run {program}, which Docker's config.json names for {server}: {exc.strerror}.") from exc
    if done.returncode != 0:
        answer = done.stdout.strip()
        if _NOT_FOUND in answer:
            return None
        raise ConfigError(f"{program} has no credentials for {server}: {answer or f'it ended with status {done.returncode}'}.")
    try:
        answer = json.loads(done.stdout)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{program} did not answer with credentials for {server}.") from None
    if username == _TOKEN_USER:
        return Credentials(identity_token=secret, server_address=server)
    return Credentials(username, secret, server_address=server)
