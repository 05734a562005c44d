"""Access keys of a bucket: from the environment, from the profile in AWS_PROFILE, or those of a role.

obstore gets the keys of roles itself: of a web identity, a container or the machine.

A key also signs the few requests that obstore cannot make. Source: AWS Signature Version 4, as the Amazon S3 API reference describes
it; the payload of such a request is small, and is signed too.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

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


_ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key; whoever has one of a role also has a token."""

    key_id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)


def query_string(query: Mapping[str, str]) -> str:
    """The query as it is signed and sent."""
    return "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in sorted(query.items()))


def sign(
    credentials: Credentials,
    region: str,
    method: str,
    *,
    host: str,
    path: str,
    query: Mapping[str, str],
    payload: bytes = b"",
    at: datetime | None = None,
    headers: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The headers of a signed request, `headers` included; `path` is percent-encoded, and `host` has the port unless it is the scheme's."""
    moment = (at or datetime.now(UTC)).strftime("%Y%m%dT%H%M%SZ")
    hashed = hashlib.sha256(payload).hexdigest()
    sent = {name.lower(): value for name, value in (headers or {}).items()}
    sent |= {"host": host, "x-amz-content-sha256": hashed, "x-amz-date": moment}
    if credentials.token:
        sent["x-amz-security-token"] = credentials.token
    names = ";".join(sorted(sent))
    canonical = "\n".join([method, path, query_string(query), *(f"{name}:{sent[name]}" for name in sorted(sent)), "", names, hashed])
    scope = f"{moment[:8]}/{region}/s3/aws4_request"
    text = "\n".join([_ALGORITHM, moment, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = _hmac(key, part)
    signature = _hmac(key, text).hex()
    return sent | {"authorization": f"{_ALGORITHM} Credential={credentials.key_id}/{scope}, SignedHeaders={names}, Signature={signature}"}


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()
