"""Where a bucket is: `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """A prefix in a bucket, at Amazon unless there is an endpoint."""

    bucket: str
    prefix: str
    endpoint: str = ""
    region: str = ""

    @classmethod
    def parse(cls, text: str) -> BucketAddress:
        """Raises ValueError with what such a URL must be."""
        parts = urlsplit(text)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        prefix = parts.path.strip("/")
        if not _BUCKET.fullmatch(parts.netloc):
            raise ValueError(
                "must be s3://BUCKET/PREFIX; credentials are not part of it, but in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        if not _PREFIX.fullmatch(prefix) or ".." in prefix:
            raise ValueError("must be s3://BUCKET/PREFIX with a prefix of letters, digits and !_.*'()-")
        if query.keys() - {"endpoint", "region"}:
            raise ValueError("must have no other parameters than endpoint and region")
        endpoint = query.get("endpoint", "").rstrip("/")
        if endpoint and not re.fullmatch(r"https?://[^/?#@\s]+", endpoint):
            raise ValueError("must have an endpoint like https://HOST:PORT, without a path")
        return cls(parts.netloc, prefix, endpoint, query.get("region", ""))

    @property
    def place(self) -> str:
        """What distinguishes it from every other: servers may have buckets of the same name."""
        return f"{self} at {self.endpoint}" if self.endpoint else str(self)

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}"
