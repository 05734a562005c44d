"""A bucket: its address, `s3://BUCKET/PREFIX?endpoint=URL&region=REGION`, its objects, and the mark with the id of its store.

obstore begins after the fork: used in a parent it hangs in the child.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

from stowage.services.content.bucket_errors import Absent, Refused, Unexplained, bucket_errors
from stowage.services.content.bucket_keys import Credentials, boto3_key, environment_key, profile_provider

if TYPE_CHECKING:
    from obstore.store import S3Store

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


Answer = TypeVar("Answer")

PART_BYTES = 8 << 20
"""The size of a part; an object has at most 10,000 parts."""

PARTS_AT_ONCE = 2
"""How many parts of one upload are sent at once; one more is being filled."""

_RETRIES = 1000
"""No bound: tries are as far apart as their waits have grown, at random, and end with the timeout."""

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Found:
    """An object: its location, size, ETag, and when it was written, in seconds since 1970."""

    location: str
    size: int
    etag: str
    modified: float


class Bucket:
    """The objects below the prefix of an address. Raises as `bucket_errors` does; `timeout` is that of a request, in seconds."""

    def __init__(self, address: BucketAddress, *, timeout: int) -> None:
        self.address = address
        self.timeout = timeout
        self._stores: dict[int, S3Store] = {}
        self._opening = threading.Lock()

    def head(self, location: str) -> Found | None:
        import obstore

        def ask(store: S3Store) -> Found | None:
            try:
                return _found(obstore.head(store, self._path(location)), location)
            except FileNotFoundError as exc:
                if "NoSuchBucket" in str(exc):
                    raise
                return None

        try:
            return self._send(ask)
        except Unexplained:  # an answer to HEAD has no body, which would say why
            with suppress(Absent):
                self.get_range(location, 0, 1)
        return self._send(ask)

    def get(self, location: str) -> bytes:
        """The whole of a small object; raises Absent."""
        import obstore

        return self._send(lambda store: bytes(obstore.get(store, self._path(location)).bytes()))

    def get_range(self, location: str, start: int, length: int) -> bytes:
        """These bytes of an object, or fewer if the server sends no more; raises Absent."""
        import obstore

        return self._send(lambda store: bytes(obstore.get_range(store, self._path(location), start=start, length=length)))

    def put(self, location: str, content: bytes) -> None:
        import obstore

        self._send(lambda store: obstore.put(store, self._path(location), content, use_multipart=False))

    def create(self, location: str, content: bytes) -> bool:
        """Write an object unless there is one; returns whether it was written."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        def write(store: S3Store) -> bool:
            try:
                obstore.put(store, self._path(location), content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

        return self._send(write)

    def put_parts(self, location: str, parts: Iterator[bytes]) -> None:
        """Write an object from parts as they come. If the iterator raises, nothing becomes visible, and no parts stay."""
        import obstore

        with self._errors(self._store()) as store:
            obstore.put(store, self._path(location), parts, use_multipart=True, chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE)

    def delete(self, locations: Sequence[str]) -> None:
        """Delete these objects; those that do not exist are no error."""
        import obstore

        if locations:
            self._send(lambda store: obstore.delete(store, [self._path(location) for location in locations]))

    def list(self, folder: str) -> Iterator[list[Found]]:
        """The objects whose locations begin with this folder, in pages."""
        import obstore

        prefix = f"{self.address.prefix}/"
        with self._errors(self._store()) as store:
            for page in obstore.list(store, self._path(folder), chunk_size=_PAGE):
                yield [_found(meta, str(meta["path"]).removeprefix(prefix)) for meta in page]

    def credentials(self) -> Credentials | None:
        """The access key, for a request that obstore does not make; that of a role is only known with boto3."""
        return environment_key() or boto3_key()

    @property
    def region(self) -> str:
        return self.address.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"

    def _path(self, location: str) -> str:
        return f"{self.address.prefix}/{location}"

    def _send(self, request: Callable[[S3Store], Answer]) -> Answer:
        """The answer to a request that may be sent again. One with refused credentials is, with those that are found now."""
        try:
            with self._errors(self._store()) as store:
                return request(store)
        except Refused:
            with self._errors(self._store()) as store:
                return request(store)

    @contextmanager
    def _errors(self, store: S3Store) -> Iterator[S3Store]:
        """As `bucket_errors`. After credentials were refused, the next request looks for them again."""
        try:
            with bucket_errors(self.address.bucket):
                yield store
        except Refused:
            with self._opening:
                if self._stores.get(os.getpid()) is store:
                    del self._stores[os.getpid()]
            raise

    def _store(self) -> S3Store:
        # A parent's store stays referenced in its child: if collected there, it would wait for threads that do not exist.
        store = self._stores.get(os.getpid())
        if store is None:
            with self._opening:
                store = self._stores.get(os.getpid()) or self._open()
                self._stores[os.getpid()] = store
        return store

    def _open(self) -> S3Store:
        from obstore.store import S3Store

        options: dict[str, Any] = {"endpoint": self.address.endpoint} if self.address.endpoint else {}
        if os.environ.get("AWS_PROFILE") and not environment_key():
            options["credential_provider"] = profile_provider()
        return S3Store(
            self.address.bucket,
            region=self.region,
            virtual_hosted_style_request=not self.address.endpoint,
            client_options={
                "allow_http": self.address.endpoint.startswith("http://"),
                "timeout": f"{self.timeout}s",
                "connect_timeout": f"{max(1, self.timeout // 6)}s",
            },
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=self.timeout),
                "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=5), "base": 2},
            },
            **options,
        )


def _found(meta: Any, location: str) -> Found:
    modified: datetime = meta["last_modified"]
    return Found(location, meta["size"], meta["e_tag"] or "", modified.timestamp())


MARK = "store-id"
"""The object of two lines of text: which store the blobs belong to, and in which database that is."""


def read_mark(bucket: Bucket) -> tuple[str, str] | None:
    """The id of the store and its database; None if the bucket has no mark yet."""
    try:
        identifier, _, owner = bucket.get(MARK).decode(errors="replace").partition("\n")
    except Absent:
        return None
    return identifier, owner.strip()


def create_mark(bucket: Bucket, identifier: str, owner: str) -> None:
    """Write the mark unless there is one."""
    bucket.create(MARK, _text(identifier, owner))


def write_mark(bucket: Bucket, identifier: str, owner: str) -> None:
    """Write the mark, whatever it was before."""
    bucket.put(MARK, _text(identifier, owner))


def _text(identifier: str, owner: str) -> bytes:
    return f"{identifier}\n{owner}\n".encode()
