"""The engine: the ports that every use case takes, and the limits that it respects."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stowage.services.archive.bounds import Bounds, Costs
from stowage.services.budget import Budget
from stowage.services.content.protocol import ContentStore
from stowage.services.metadata.store import MetadataStore
from stowage.services.meter import Tally
from stowage.services.oci.platform import Platform
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.urls import Downloads
from stowage.services.transfer_board import TransferBoard


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on what input may cost. A stream is a bomb when it passes both the ratio and the absolute bytes.

    A transfer, up or down, is tried `download_attempts` times in a row without any progress, the second time after about `retry_seconds`.
    A download makes no progress if fewer than `least_rate` bytes a second arrive for `stall_seconds`. No operation waits longer than
    `turn_seconds` for another writer of the same blob that is slower than that. With fewer than `least_free` bytes free in the content
    store the service is not ready. `listed_entries` of a layer are listed, and may be in the tree of an image; a request may
    read layers for `listing_seconds`, and all kept lists have `listing_bytes`. The page relates at most `family_images` with each other.
    """

    decompression_ratio: int
    decompression_bytes: int
    concurrent_downloads: int
    concurrent_uploads: int
    download_attempts: int
    retry_seconds: float
    least_rate: int
    stall_seconds: float
    turn_seconds: float
    least_free: int
    listed_entries: int
    listing_seconds: int
    listing_bytes: int
    family_images: int


@dataclass(frozen=True, slots=True)
class ShownSettings:
    """Settings that GET /info shows.

    They are the root folder, the kinds of store and database, mirrors of docker.io, networks and hosts of insecure registries, and proxies
    without their credentials.
    """

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

    `clock` gives nanoseconds since 1970; `platform` is the one preferred if an image has several;
    `imports` is what an import may fetch; `memory` is what all operations of the process may keep in memory together; `board` shows what
    every process transfers; `costs` counts what one operation costs, in an engine that is made for that operation, and `tally` what it
    moves.
    """

    content: ContentStore
    metadata: MetadataStore
    registry: RegistryClient
    imports: Downloads
    platform: Platform
    clock: Callable[[], int]
    limits: Limits
    memory: Budget
    board: TransferBoard
    shown: ShownSettings = ShownSettings()
    costs: Costs | None = None
    tally: Tally = field(default_factory=Tally)

    @property
    def bounds(self) -> Bounds:
        """What a compressed stream may cost."""
        return Bounds(self.limits.decompression_ratio, self.limits.decompression_bytes, self.memory, self.costs)
