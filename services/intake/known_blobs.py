"""The blobs of another store: read from an archive that it has loaded, or from a list.

    list := { line "\\n" }
    line := digest | "blobs/" algorithm "/" hex | other member of an archive | "#" comment | ""

Such a list is what `stowage blobs` prints, or `tar -tf` of an archive whose blobs are in `blobs/`. The blobs of an archive are what its
members hash to, whatever they are called, so nothing but the bytes is trusted. An archive may itself lack layers that were left out
before: a manifest that is in it with its config would not have been loaded without them, so its layers are known too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import chain

from stowage.services.archive import docker_archive, oci_layout
from stowage.services.archive.bounds import Costs
from stowage.services.archive.compression import Counted, Readable, read_from, uncompressed
from stowage.services.archive.tar_reader import BLOCK, CHUNK, MemberType, TarReader, begins_archive
from stowage.services.budget import Reservation
from stowage.services.engine import Engine
from stowage.services.errors import InvalidContent, InvalidDigest
from stowage.services.intake.archive_members import DOCUMENTS
from stowage.services.oci import gojson
from stowage.services.oci.digest import Digest, Digester
from stowage.services.oci.gojson import Fields
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES, Manifest
from stowage.services.oci.mediatypes import OCI_MANIFEST, is_foreign_layer, is_manifest

MOST_BLOBS = 1_000_000
"""How many blobs may be known; they are held in memory."""

_OTHER_MEMBERS = DOCUMENTS | {"repositories"}
_LISTS = frozenset({oci_layout.INDEX_FILE, docker_archive.MANIFEST_FILE})
_LINE_BYTES = 4096
_DIGEST_BYTES = 256
"""What a digest takes in memory, roughly."""

_SHOWN_BYTES = 80


@dataclass(slots=True)
class _Known:
    """What was read so far: blobs, and the layers of each manifest by its config. The operation counts what it takes."""

    costs: Costs
    blobs: set[Digest] = field(default_factory=set)
    layers: dict[Digest, set[Digest]] = field(default_factory=dict)
    size: int = 0

    def add(self, digest: Digest) -> None:
        self._count(1)
        self.blobs.add(digest)

    def add_manifest(self, manifest: Manifest) -> None:
        self._count(len(manifest.layers))
        layers = self.layers.setdefault(manifest.config.digest, set())
        layers.update(layer.digest for layer in manifest.layers if not is_foreign_layer(layer.media_type))

    def all(self) -> set[Digest]:
        return self.blobs.union(*(layers for config, layers in self.layers.items() if config in self.blobs))

    def _count(self, number: int) -> None:
        self.size += number
        if self.size > MOST_BLOBS:
            raise InvalidContent(f"more than {MOST_BLOBS} blobs")
        self.costs.keep(_DIGEST_BYTES * number)


def read_known_blobs(engine: Engine, source: Readable, costs: Costs) -> set[Digest]:
    """The blobs of an archive (docker-archive or OCI layout; plain, gzip, bzip2, xz or zstd), or the digests of a list.

    Reads and hashes the whole archive. Raises InvalidContent for anything else, for an archive that is cut or damaged, and what
    decompression and the operation raise, which counts what is read and kept.
    """
    with uncompressed(Counted(source, costs), replace(engine, costs=costs).bounds) as read:
        head = _read_head(read)
        read_all = read_from(chain((head,), iter(lambda: read(CHUNK), b"")))
        return _read_archive(engine, read_all, costs) if begins_archive(head) else _read_list(read_all, costs)


def _read_head(read: Callable[[int], bytes]) -> bytes:
    head = b""
    while len(head) < BLOCK and (more := read(BLOCK - len(head))):
        head += more
    return head


def _read_archive(engine: Engine, read: Callable[[int], bytes], costs: Costs) -> set[Digest]:
    known, is_archive = _Known(costs), False
    reader = TarReader(read)
    for member in reader:
        name = member.name.removeprefix("./")
        if member.type is not MemberType.FILE or name in DOCUMENTS:
            is_archive = is_archive or name in _LISTS
            continue
        with closing(Reservation(engine.memory)) as memory:
            if member.size <= MAX_MANIFEST_BYTES:
                memory.hold(member.size)
            digest, content = _read_member(name, member.size, reader.chunks())
            known.add(digest)
            if manifest := _manifest(content, costs):
                known.add_manifest(manifest)
    if not is_archive:
        raise InvalidContent("a tar without index.json and manifest.json is no archive of images")
    return known.all()


def _read_member(name: str, size: int, chunks: Iterator[bytes]) -> tuple[Digest, bytes]:
    """The digest of a member, and its content if a manifest may be as large."""
    promised = docker_archive.blob_named(name)
    digester, kept = Digester(promised.algorithm if promised else "sha256"), list[bytes]()
    for chunk in chunks:
        digester.update(chunk)
        if size <= MAX_MANIFEST_BYTES:
            kept.append(chunk)
    if promised not in (None, digester.digest):
        raise InvalidContent(f"the content of {gojson.quote(name)} is not what its name says: the archive is damaged")
    return digester.digest, b"".join(kept)


def _manifest(content: bytes, costs: Costs) -> Manifest | None:
    """The manifest that these bytes are, if they are one."""
    if not content.startswith(b"{"):
        return None
    costs.decode(gojson.count_values(content))
    try:
        media_type = Fields(gojson.decode(content), "Manifest").text("mediaType") or OCI_MANIFEST
        return Manifest.parse(content, media_type) if is_manifest(media_type) else None
    except InvalidContent:
        return None


def _read_list(read: Callable[[int], bytes], costs: Costs) -> set[Digest]:
    known = _Known(costs)
    for number, line in enumerate(_lines(read), 1):
        text = line.decode("utf-8", "replace").strip()
        if not text or text.startswith("#") or text.endswith("/") or text.removeprefix("./") in _OTHER_MEMBERS:
            continue
        digest = _digest(text) or docker_archive.blob_named(text.removeprefix("./"))
        if digest is None:
            shown = gojson.quote(text[:_SHOWN_BYTES])
            raise InvalidContent(f"neither an archive of images nor a list of digests: line {number} is {shown}")
        known.add(digest)
    return known.blobs


def _lines(read: Callable[[int], bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := read(CHUNK):
        *lines, rest = (rest + chunk).split(b"\n")
        yield from lines
        if len(rest) > _LINE_BYTES:
            break
    yield rest


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except InvalidDigest:
        return None
