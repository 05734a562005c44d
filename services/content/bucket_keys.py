"""Where the access key of a bucket is looked up: in the environment, in the profile that AWS_PROFILE names, or as the key of a role.

A role is obstore's own business: one that a web identity may assume, that of a container, or that of the machine.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from stowage.services.content.signature import Credentials
from stowage.services.errors import Internal, Unsupported

if TYPE_CHECKING:
    from obstore.auth.boto3 import Boto3CredentialProvider

_FRESH = timedelta(minutes=5)
"""How long a key of boto3 is used, which renews one ten minutes before it expires."""


def environment_key() -> Credentials | None:
    """The key in the environment."""
    if not os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    token = os.environ.get("AWS_SESSION_TOKEN", "")
    return Credentials(os.environ["AWS_ACCESS_KEY_ID"], os.environ.get("AWS_SECRET_ACCESS_KEY", ""), token)


def boto3_key() -> Credentials | None:
    """The key that boto3 finds; None if there is none, or no boto3."""
    try:
        found = _provider()()
    except (Unsupported, ValueError):
        return None
    return Credentials(found["access_key_id"], found["secret_access_key"], found.get("token") or "")


def profile_provider() -> Boto3CredentialProvider:
    """What gives obstore the key of the profile. Raises Internal if there is none, and Unsupported without boto3."""
    try:
        return _provider()
    except ValueError as exc:
        raise Internal(f"the profile {os.environ['AWS_PROFILE']} of AWS_PROFILE has no credentials") from exc


def _provider() -> Boto3CredentialProvider:
    """Raises ValueError if boto3 finds no key."""
    try:
        from botocore.exceptions import BotoCoreError
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError:
        raise Unsupported("AWS_PROFILE needs boto3: install stowage[s3-profiles]") from None
    try:
        provider = Boto3CredentialProvider(ttl=_FRESH)
        provider()  # a role or a program may refuse to give one
    except BotoCoreError as exc:
        raise ValueError(str(exc)) from exc
    return provider
