"""Signatures of S3 requests, for those few that obstore does not make.

Source: AWS Signature Version 4, as the Amazon S3 API reference describes it; the payload of such a request is small, and is signed too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

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
