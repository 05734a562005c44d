"""POST /images/create with fromSrc as a use case: a root file system becomes an image of one layer.

Source: moby daemon/containerd/image_import.go; daemon/server/router/image/image_routes.go (postImagesCreate).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass
from threading import Event
from typing import cast

from stowage.services.archive.bounds import Costs
from stowage.services.archive.compression import Readable
from stowage.services.dockerfile import apply_changes
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, InvalidParameter
from stowage.services.gc.leases import Lease, hold
from stowage.services.intake.ingest import store_bytes
from stowage.services.intake.rootfs import StoredLayer, store_rootfs
from stowage.services.oci.config import ContainerConfig, History, ImageConfig
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import encode
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES
from stowage.services.oci.mediatypes import OCI_CONFIG, OCI_MANIFEST
from stowage.services.oci.platform import Platform
from stowage.services.oci.reference import Reference, dangling_name
from stowage.services.progress import Detail, Progress, ProgressStream
from stowage.services.registry.urls import Download
from stowage.services.store.events import Action, log_image
from stowage.services.store.graph import read_graph
from stowage.services.store.publish import assign_name, read_configs, record_graph
from stowage.services.timestamps import Timestamp
from stowage.services.transfer.retry import awaited

_PROGRESS_SECONDS = 0.1
_DOWNLOAD = "download"


@dataclass(frozen=True, slots=True)
class _Plan:
    """The image to be made, except for its layer."""

    container: ContainerConfig
    platform: Platform
    message: str
    reference: Reference | None


def import_image(
    engine: Engine,
    source: Readable,
    *,
    message: str,
    reference: Reference | None = None,
    platform: Platform | None = None,
    changes: Sequence[str] = (),
) -> ProgressStream:
    """Make an image of the archive in `source`; yields ticks, and then one line, the image's ID.

    Without a reference it is dangling; the platform defaults to the engine's. Two imports of the same content at the same instant
    are the same image. Raises InvalidParameter for a bad change before it reads; then InvalidContent or OutOfSpace, and leaves nothing.
    """
    with closing(Costs(engine.memory)) as costs:
        plan = _plan(engine, costs, message, reference, platform, changes)
        image = yield from _import(engine, source, plan)
    yield Progress(status=str(image), image="" if reference else str(image))


def import_url(
    engine: Engine,
    url: str,
    *,
    message: str,
    reference: Reference | None = None,
    platform: Platform | None = None,
    changes: Sequence[str] = (),
) -> ProgressStream:
    """Make an image of the archive at this URL; yields how much has arrived, and finally the image's ID.

    Raises what the engine's downloads and `import_image` raise.
    """
    address = engine.imports.address(url)
    with closing(Costs(engine.memory)) as costs:
        plan = _plan(engine, costs, message, reference, platform, changes)
        image = yield from _import_download(engine, address, plan)
    yield Progress(status=str(image), image="" if reference else str(image))


def _import_download(engine: Engine, address: str, plan: _Plan) -> Generator[Progress, None, Digest]:
    """Import what is at this address; yields how much has arrived, and returns the image."""
    opening = engine.imports.open(address)
    download = yield from awaited(opening.__enter__)
    with ExitStack() as opened:
        opened.push(opening)
        yield Progress(status=f"Downloading from {address}")
        left = Event()
        with ThreadPoolExecutor(max_workers=1) as worker, closing(download), ExitStack() as leaving:
            leaving.callback(left.set)
            importing = worker.submit(_finish, _import(engine, download, plan), left)
            while not wait([importing], timeout=_PROGRESS_SECONDS).done:
                yield _importing(engine, download)
        image = importing.result()
    yield _importing(engine, download)
    return image


def _finish(steps: Generator[Progress, None, Digest], left: Event) -> Digest:
    """Take every step; raises InvalidContent, which no client sees, once the client has left."""
    with closing(steps):
        while not left.is_set():
            try:
                next(steps)
            except StopIteration as done:
                return cast("Digest", done.value)
    raise InvalidContent("context canceled")


def _importing(engine: Engine, download: Download) -> Progress:
    if download.size:
        engine.tally.parts.expect({_DOWNLOAD: download.size})
        engine.tally.parts.reach(_DOWNLOAD, download.position)
    return Progress(status="Importing", detail=Detail(current=download.position, total=download.size))


def _plan(
    engine: Engine, costs: Costs, message: str, reference: Reference | None, platform: Platform | None, changes: Sequence[str]
) -> _Plan:
    chosen = platform or engine.platform.without_level()
    plan = _Plan(apply_changes(changes, os=chosen.os, keep=costs.keep), chosen, message, reference)
    if len(encode(plan.container.to_json())) + len(message) > MAX_MANIFEST_BYTES:
        raise InvalidParameter(f"the changes make an image config that is larger than {MAX_MANIFEST_BYTES} bytes")
    return plan


def _import(engine: Engine, source: Readable, plan: _Plan) -> Generator[Progress, None, Digest]:
    """Store, name and return the image; yields ticks."""
    with hold(engine.metadata, engine.content, "import") as lease:
        layer = yield from store_rootfs(engine, lease, source)
        now = engine.clock()
        target = _store_documents(engine, lease, layer, plan, now)
        graph = read_graph(engine, lease.digests(), target)
        configs = read_configs(engine.content, graph)
        with lease.ending() as tx:
            record_graph(tx, graph, configs)
            assign_name(tx, str(plan.reference or dangling_name(target.digest)), target, now)
            if plan.reference:
                log_image(tx, engine, Action.TAG, target.digest, name=plan.reference.familiar, labels=plan.container.labels)
            log_image(tx, engine, Action.IMPORT, target.digest, name=target.digest, labels=plan.container.labels)
    return target.digest


def _store_documents(engine: Engine, lease: Lease, layer: StoredLayer, plan: _Plan, now: int) -> Descriptor:
    """Write config and manifest; returns the manifest's descriptor."""
    created = Timestamp(now)
    image = ImageConfig(
        platform=plan.platform,
        created=created,
        container=plan.container,
        rootfs_type="layers",
        diff_ids=(layer.diff_id,),
        history=(History(created=created, comment=plan.message),),
    )
    config = _store(engine, lease, OCI_CONFIG, image.to_bytes())
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.descriptor.to_json()],
    }
    return _store(engine, lease, OCI_MANIFEST, encode(manifest))


def _store(engine: Engine, lease: Lease, media_type: str, document: bytes) -> Descriptor:
    return Descriptor(media_type, store_bytes(engine, lease, document), len(document))
