"""The engine: the ports that every use case takes, and the limits it keeps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from services.archive.bounds import Bounds, DecoderMemory
from services.content.protocol import ContentStore
from services.metadata.protocol import MetadataStore
from services.oci.platform import Platform
from services.registry.protocol import Registry


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what input may cost. A stream is a bomb when it passes both the ratio and the absolute bytes.

    A transfer, up or down, is tried `download_attempts` times in a row without any progress, the second time after about `retry_seconds`.
    A download makes none where less than `least_rate` bytes a second come for `stall_seconds`. Nobody waits longer than `turn_seconds` for
    another writer of the same blob that brings less.
    """

    decompression_ratio: int = 200
    decompression_bytes: int = 1 << 30
    concurrent_downloads: int = 3
    concurrent_uploads: int = 5
    download_attempts: int = 5
    retry_seconds: float = 1.0
    least_rate: int = 1024
    stall_seconds: float = 60.0
    turn_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """Settings that GET /info shows: the root folder, the kinds of store and database, mirrors of docker.io, networks and hosts of
    insecure registries, proxies masked."""

    root: str = ""
    store: str = ""
    database: str = ""
    registry_mirrors: tuple[str, ...] = ()
    insecure_registries: tuple[str, ...] = ()
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""


@dataclass(frozen=True, slots=True)
class Engine:
    """Everything a use case needs; built once per process by app/wiring.py.

    `clock` gives nanoseconds since 1970; `platform` is the one preferred where an image has several;
    `decoders` is the memory that all streams of the process share;
    `import_urls` is where an import may fetch from: `public` and networks, nowhere when empty.
    """

    content: ContentStore
    metadata: MetadataStore
    registry: Registry
    platform: Platform
    clock: Callable[[], int]
    limits: Limits = Limits()
    import_urls: tuple[str, ...] = ()
    shown: ShownSettings = ShownSettings()
    decoders: DecoderMemory = field(default_factory=DecoderMemory)

    @property
    def bounds(self) -> Bounds:
        """What a compressed stream may cost."""
        return Bounds(self.limits.decompression_ratio, self.limits.decompression_bytes, self.decoders)
