"""The members of an image archive become blobs.

A member `blobs/<algorithm>/<hex>` must match its name and is stored as it arrives, small ones in batches of a few dozen. What other members
are is unknown until manifest.json, often the last member, says so. Until then small ones wait in memory and large ones are stored; what is
not needed is swept.

Member names are looked up, never opened. Still, a name that climbs out, a name with two different contents, a hard link, a sparse file and
a device are refused, so that no two readers of an archive can disagree (CVE-2014-9358, and many in Python's tarfile).

The documents may be larger than a manifest: an archive saved here must load again, even with many images and names.

Source: containerd core/images/archive/importer.go.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stowage.services.archive import docker_archive, oci_layout
from stowage.services.archive.bounds import Costs, text_memory
from stowage.services.archive.tar_reader import Member, MemberType
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent
from stowage.services.gc.leases import Lease
from stowage.services.intake.ingest import storing_blob
from stowage.services.intake.recording import StoredBlob
from stowage.services.intake.small_blobs import SMALL_BYTES, SmallBlobs
from stowage.services.oci.digest import Digest
from stowage.services.oci.gojson import character_bytes, check_values, quote
from stowage.services.progress import Progress
from stowage.services.store.documents import Documents

MAX_DOCUMENT_BYTES = 20 << 20
"""The size limit of index.json and of manifest.json; containerd reads no more of the latter (jsonLimit)."""

_MAX_LAYOUT_BYTES = 64 << 10
"""The size limit of oci-layout, which has about 30."""

MAX_ENTRIES = 100_000
"""How many names and nameless images an archive may have; each costs a row and an event, but only a few bytes of a document."""

DOCUMENTS = frozenset({oci_layout.LAYOUT_FILE, oci_layout.INDEX_FILE, docker_archive.MANIFEST_FILE})
"""The members that describe an archive. They are parsed, and not stored."""

_REFUSED = frozenset({MemberType.HARDLINK, MemberType.SPECIAL, MemberType.SPARSE})
_MEMORY_BYTES = 32 << 20
"""Memory for names, links and small members together, roughly. What they take counts in the memory of the operation, as documents do."""


@dataclass(slots=True)
class Intake:
    """An archive while it is read: its documents, and every other member by name as small content or as a stored blob.

    `came` maps each name to its content, a digest or a link target, so that repeated names are noticed. `blobs` stores small
    members and must be flushed before they are read back. `configs` has what was read of configs, `types` the media types of layers.
    """

    engine: Engine
    lease: Lease
    costs: Costs
    configs: Documents
    blobs: SmallBlobs
    documents: dict[str, bytes] = field(default_factory=dict)
    small: dict[str, bytes] = field(default_factory=dict)
    stored: dict[str, StoredBlob] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    came: dict[str, Digest | str] = field(default_factory=dict)
    types: dict[Digest, str] = field(default_factory=dict)
    memory: int = 0


def take_member(intake: Intake, member: Member, chunks: Iterator[bytes]) -> Iterator[Progress]:
    """Take the next member of the archive; folders are only counted. Yields ticks while a large one is stored.

    Raises InvalidContent for what the module refuses and for bytes that are not what the member's name promises, and what storing raises.
    """
    name = _clean(member.name)
    if member.type in _REFUSED or (member.type is not MemberType.FILE and docker_archive.blob_named(name)):
        raise InvalidContent(f"refusing {quote(member.name)}: a {member.type.value} in an image archive")
    if member.type is MemberType.SYMLINK:
        _take_link(intake, name, member.link)
        return
    _remember(intake, text_memory(name))
    if member.type is MemberType.FILE:
        try:
            yield from _take_file(intake, name, member.size, chunks)
        except InvalidContent as exc:
            raise InvalidContent(f"failed to ingest {quote(member.name)}: {exc}") from exc


def _clean(name: str) -> str:
    clean = posixpath.normpath(name)
    if ".." in name.split("/"):  # an absolute name is one that only manifest.json may mention, as that of buildpacks does
        raise InvalidContent(f"refusing {quote(name)}: the name leads out of the archive")
    return clean


def _take_link(intake: Intake, name: str, link: str) -> None:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), link))
    if name in DOCUMENTS or target.startswith(("/", "../")):
        raise InvalidContent(f"refusing {quote(name)}: a symbolic link to {quote(link)}")
    _remember(intake, text_memory(name) + text_memory(target))
    _refuse_other(intake, name, target)
    intake.links[name] = target


def _take_file(intake: Intake, name: str, size: int, chunks: Iterator[bytes]) -> Iterator[Progress]:
    if name in DOCUMENTS:
        document = _read_document(intake, name, size, chunks)
        _refuse_other(intake, name, Digest.of(document))
        intake.documents[name] = document
        return
    digest = docker_archive.blob_named(name)
    if size > SMALL_BYTES:
        blob = yield from storing_blob(intake.engine, intake.lease, chunks, digest=digest, size=size)
    elif digest is not None:
        blob = intake.blobs.add(b"".join(chunks), digest=digest)
    else:
        _remember(intake, size)
        content = b"".join(chunks)
        _refuse_other(intake, name, Digest.of(content))
        intake.small[name] = content
        return
    _refuse_other(intake, name, blob.digest)
    intake.stored[name] = blob


def _refuse_other(intake: Intake, name: str, came: Digest | str) -> None:
    """Refuse a second member with the same name, unless it is identical."""
    if intake.came.setdefault(name, came) != came:
        raise InvalidContent(f"the name {quote(name)} occurs twice in the archive")


def _remember(intake: Intake, size: int) -> None:
    intake.memory += size + 256
    if intake.memory > _MEMORY_BYTES:
        raise InvalidContent("the archive has too many members")
    intake.costs.keep(size + 256)


def _read_document(intake: Intake, name: str, size: int, chunks: Iterable[bytes]) -> bytes:
    most = _MAX_LAYOUT_BYTES if name == oci_layout.LAYOUT_FILE else MAX_DOCUMENT_BYTES
    if size > most:
        raise InvalidContent(f"larger than {most} bytes")
    document = bytearray()
    for chunk in chunks:
        intake.costs.keep(len(chunk))
        document += chunk
    intake.costs.keep(2 * (character_bytes(document) - 1) * len(document))  # while it is parsed
    whole = bytes(document)
    check_values(whole, oci_layout.MAX_DOCUMENT_VALUES)
    return whole
