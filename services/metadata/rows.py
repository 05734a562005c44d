"""Conversion between values and the text of columns.

Reading trusts a row: its value was valid when written, and validating it again would be most of the cost of listing images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from typing import Any

import orjson

from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.platform import Platform
from stowage.services.timestamps import Timestamp

CHUNK = 500
"""How many values one IN list holds: below every database's limit on parameters."""

_PLATFORMS = 256
_DIGESTS = 8192
"""How many values are cached as objects that rows share: there are few platforms, and a digest is in several rows."""

_shared_platform = lru_cache(maxsize=_PLATFORMS)(Platform)


def in_chunks(values: Iterable[Digest | str], most: int = CHUNK) -> Iterator[list[str]]:
    """The distinct values as text, in lists short enough for IN."""
    texts = iter({str(value) for value in values})
    while chunk := list(islice(texts, most)):
        yield chunk


@lru_cache(maxsize=_DIGESTS)
def to_digest(text: str) -> Digest:
    algorithm, _, encoded = text.partition(":")
    return Digest(algorithm, encoded)


def dump_descriptor(descriptor: Descriptor) -> str:
    return orjson.dumps(descriptor.to_json()).decode()


def load_descriptor(text: str) -> Descriptor:
    value = orjson.loads(text)
    platform = value.get("platform")
    return Descriptor(
        value["mediaType"],
        to_digest(value["digest"]),
        value["size"],
        value.get("annotations", {}),
        tuple(value.get("urls", ())),
        None if platform is None else _to_platform(platform),
        value.get("artifactType", ""),
        value.get("data", ""),
    )


def dump_platform(platform: Platform | None) -> str | None:
    return None if platform is None else orjson.dumps(platform.to_json()).decode()


@lru_cache(maxsize=_PLATFORMS)
def load_platform(text: str | None) -> Platform | None:
    return None if text is None else _to_platform(orjson.loads(text))


def dump_labels(labels: Mapping[str, str] | None) -> str | None:
    return None if labels is None else orjson.dumps(dict(labels)).decode()


def load_labels(text: str | None) -> Mapping[str, str] | None:
    if text is None:
        return None
    labels: dict[str, str] = orjson.loads(text)
    return labels


def dump_timestamp(timestamp: Timestamp | None) -> str | None:
    """Nanoseconds and offset as two decimal numbers: the years before 1678 and after 2261 are beyond 64 bits."""
    return None if timestamp is None else f"{timestamp.nanoseconds} {timestamp.offset}"


def load_timestamp(text: str | None) -> Timestamp | None:
    if text is None:
        return None
    nanoseconds, _, offset = text.partition(" ")
    return Timestamp(int(nanoseconds), int(offset))


def _to_platform(value: dict[str, Any]) -> Platform:
    return _shared_platform(
        value.get("os", ""),
        value.get("architecture", ""),
        value.get("variant", ""),
        value.get("os.version", ""),
        tuple(value.get("os.features", ())),
    )
