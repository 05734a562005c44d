"""An image archive, read as it arrives: its members become blobs, and its entries descriptors of what to name.

Source: containerd core/images/archive/importer.go.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from stowage.services.archive import docker_archive, oci_layout
from stowage.services.archive.bounds import Costs
from stowage.services.archive.compression import Counted, Readable, uncompressed
from stowage.services.archive.tar_reader import TarReader
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.leases import Lease
from stowage.services.intake.archive_members import MAX_ENTRIES, Intake, take_member
from stowage.services.intake.derived_manifests import docker_entries
from stowage.services.intake.small_blobs import SmallBlobs
from stowage.services.oci.descriptor import Descriptor
from stowage.services.progress import Progress
from stowage.services.store.documents import Documents


def read_archive(
    engine: Engine, lease: Lease, *, source: Readable, costs: Costs, documents: Documents
) -> Generator[Progress, None, list[Descriptor]]:
    """Store what the archive holds under the lease; returns its entries in order, one for each name, as an index.json lists them.

    The operation counts what it costs; `documents` keeps what was read of its configs. Yields ticks. Raises InvalidContent, in containerd's
    words if it has any, also if all streams of the archive, including the archive itself, inflate like a bomb together, and what
    `Costs` raises.
    """
    engine = replace(engine, costs=costs)
    intake = Intake(engine, lease, costs, documents, SmallBlobs(engine, lease))
    with uncompressed(Counted(source, costs), engine.bounds) as read:
        reader = TarReader(read)
        for member in reader:
            yield from take_member(intake, member, reader.chunks())
            yield Progress()
            while reader.skip_some():
                yield Progress()
    intake.blobs.flush()
    if oci_layout.LAYOUT_FILE in intake.documents and oci_layout.parse_layout_version(intake.documents[oci_layout.LAYOUT_FILE]):
        return _layout_entries(intake)
    if docker_archive.MANIFEST_FILE in intake.documents:
        return (yield from docker_entries(intake))
    raise InvalidContent("unrecognized image format")


def _layout_entries(intake: Intake) -> list[Descriptor]:
    if oci_layout.INDEX_FILE not in intake.documents:
        raise InvalidContent(f"missing index.json in OCI layout {oci_layout.LAYOUT_VERSION}")
    raw = intake.documents.pop(oci_layout.INDEX_FILE)
    intake.configs.count_listing(raw)
    return list(oci_layout.parse_index_file(raw, most=MAX_ENTRIES))
