"""Login: whether a registry accepts a client's credentials. Nothing is kept; the client sends them with each pull and push."""

from __future__ import annotations

from dataclasses import dataclass

from stowage.services.engine import Engine
from stowage.services.registry.credentials import Credentials


@dataclass(frozen=True, slots=True)
class Login:
    """A login that succeeded; `identity_token` is usually empty, otherwise what the client keeps instead of the password."""

    identity_token: str
    status: str = "Login Succeeded"


def log_in(engine: Engine, credentials: Credentials) -> Login:
    """Try the credentials at the registry that they name. Raises what `Registry.log_in` raises."""
    return Login(engine.registry.log_in(credentials))
