"""The documents that an operation reads, and the parts that it keeps in memory until its images have names, within limits."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import Fields, character_bytes, count_values, decode, most_values
from stowage.services.oci.platform import Platform
from stowage.services.store.reading import read_document
from stowage.services.timestamps import Timestamp

MAX_REPEATED_CONFIGS = 64 << 20
"""Bytes of the copies of shared configs, without the first of each: every image keeps its own, so a few blobs could fill the disk."""

MAX_KEPT_BYTES = 256 << 20
"""Memory for what is kept of the documents of one operation, roughly. It is enough for 20,000 images of 20 layers.

An archive of a few KiB can hold thousands of large documents, since it is compressed.
"""

MAX_LABELS = 200_000
"""How many labels the images of one operation may have, each counted for every manifest that has it: a list finds an image by its labels,
so each image that shares a config has rows of its own for them. It is enough for 5,000 images of 40 labels.
"""

_MAX_KEPT_DIFF_IDS = 100_000
"""The limit for configs that may be needed again; 20 MB of memory."""

_VALUE_BYTES = 100
"""Memory for a value of a document that is kept parsed, roughly."""
_CONFIG_BYTES = 512


@dataclass(frozen=True, slots=True)
class ConfigFacts:
    """The facts of an image config that are needed after it is read."""

    platform: Platform
    created: Timestamp | None
    labels: Mapping[str, str] | None
    diff_ids: tuple[Digest, ...]


class Documents:
    """The documents that an operation has read; what it keeps of a config serves every manifest that shares it.

    `costs`, if given, counts the values of each document before it is decoded, and what is kept of it. `read` gets the bytes of a document:
    from the store, unless the operation has some at hand.
    """

    def __init__(self, costs: Costs | None = None, *, read: Callable[[Engine, Digest], bytes] | None = None) -> None:
        self._costs = costs
        self._read_bytes = read or read_document
        self._sizes: dict[Digest, int] = {}
        self._copied: set[Digest] = set()
        self._configs: dict[Digest, ConfigFacts | InvalidContent] = {}
        self._could_be_manifests: dict[Digest, bool] = {}
        self._diff_ids = 0
        self._repeated = 0
        self._kept = 0
        self._labels = 0

    def manifest(self, engine: Engine, digest: Digest) -> bytes:
        """The bytes of a manifest or index that will be kept parsed; raises InvalidContent if that would take too much memory."""
        raw = self._read(engine, digest)
        self._keep(len(raw) * character_bytes(raw) + _VALUE_BYTES * most_values(raw))
        return raw

    def config(self, engine: Engine, digest: Digest) -> ConfigFacts | InvalidContent:
        """The facts of a config, or the error in it; raises InvalidContent if it is too much together with others."""
        if digest in self._copied:
            self._repeated += self._sizes[digest]
            if self._repeated > MAX_REPEATED_CONFIGS:
                raise InvalidContent(f"too many manifests share configs: their copies take more than {MAX_REPEATED_CONFIGS} bytes")
        self._copied.add(digest)
        facts = self.config_facts(engine, digest)
        self._count_labels(facts)
        return facts

    def config_facts(self, engine: Engine, digest: Digest) -> ConfigFacts | InvalidContent:
        """The same, for a reader that copies nothing."""
        if digest not in self._configs:
            raw = self._read(engine, digest)
            self._sizes[digest] = len(raw)
            self._add(digest, _parse_config(raw))
        return self._configs[digest]

    def count_listing(self, raw: bytes) -> None:
        """Count a document that lists the images of an archive, and that will be kept parsed; raises as `Costs` does."""
        values = self._count(raw)
        if self._costs:
            self._costs.keep(_VALUE_BYTES * values)

    def could_be_manifest(self, engine: Engine, digest: Digest) -> bool:
        """Whether a small blob of any type has members that only manifests and indexes have; it is read once, whatever its types."""
        if digest not in self._could_be_manifests:
            self._could_be_manifests[digest] = _looks_like_manifest(self._read(engine, digest))
        return self._could_be_manifests[digest]

    def _read(self, engine: Engine, digest: Digest) -> bytes:
        """The bytes of a document that will be decoded."""
        raw = self._read_bytes(engine, digest)
        self._count(raw)
        return raw

    def _count(self, raw: bytes) -> int:
        """How many values the document has, if an operation counts them."""
        if self._costs is None:
            return 0
        values = count_values(raw)
        self._costs.decode(values)
        return values

    def _count_labels(self, facts: ConfigFacts | InvalidContent) -> None:
        self._labels += 0 if isinstance(facts, InvalidContent) else len(facts.labels or ())
        if self._labels > MAX_LABELS:
            raise InvalidContent(f"the images have more than {MAX_LABELS} labels")

    def _add(self, digest: Digest, facts: ConfigFacts | InvalidContent) -> None:
        self._keep(_weight(facts))
        self._diff_ids += 0 if isinstance(facts, InvalidContent) else len(facts.diff_ids)
        if self._diff_ids > _MAX_KEPT_DIFF_IDS:  # which frees them; those that are needed again are read again
            self._configs.clear()
            self._diff_ids = 0
        self._configs[digest] = facts

    def _keep(self, weight: int) -> None:
        self._kept += weight
        if self._kept > MAX_KEPT_BYTES:
            raise InvalidContent(f"the manifests and labels of the images need more than {MAX_KEPT_BYTES} bytes of memory")
        if self._costs:
            self._costs.keep(weight)


def _looks_like_manifest(raw: bytes) -> bool:
    try:
        fields = Fields(decode(raw), "Manifest")
        config = fields.members("config")
    except InvalidContent:
        return False
    return any(name in fields for name in ("layers", "manifests", "fsLayers")) or (config is not None and "digest" in config)


def _parse_config(raw: bytes) -> ConfigFacts | InvalidContent:
    try:
        config = ImageConfig.parse(raw)
    except InvalidContent as exc:
        return InvalidContent(str(exc))  # `exc` itself would keep its traceback, and with it the document
    return ConfigFacts(config.platform, config.created, config.container.labels, config.diff_ids or ())


def _weight(facts: ConfigFacts | InvalidContent) -> int:
    """Memory for all but the diff_ids, roughly."""
    if isinstance(facts, InvalidContent):
        return _CONFIG_BYTES + sys.getsizeof(str(facts))
    texts = [*facts.platform.texts]
    for label in (facts.labels or {}).items():
        texts += label
    return _CONFIG_BYTES + sum(sys.getsizeof(text) + _VALUE_BYTES // 2 for text in texts)
