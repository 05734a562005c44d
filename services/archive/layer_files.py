"""Reads the list of files of a layer from its uncompressed stream; nothing is unpacked.

Names are cleaned as when the layer is unpacked: relative to the root, which `..` does not leave. Whiteouts and opaque marks are recognised
by their names, and files of AUFS itself are marked.

Source: OCI image-spec layer.md; moby's go-archive whiteouts.go and diff.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import chain

from isal import isal_zlib

from stowage.services.archive.bounds import text_memory
from stowage.services.archive.compression import Chunks
from stowage.services.archive.file_list import ENTRY_BYTES, EntryKind, FileList
from stowage.services.archive.tar_reader import BLOCK, MAX_EXTENSION_BYTES, Member, MemberType, TarReader, begins_archive
from stowage.services.errors import InvalidContent

_WHITEOUT, _AUFS, _OPAQUE = ".wh.", ".wh..wh.", ".wh..wh..opq"
_TEXT_BYTES = 256
"""How many bytes of memory the names and links of a list may take, for each entry that it may have."""
_STEP_BYTES = 1 << 20
MAX_PATH = 4096
"""PATH_MAX of Linux: no file is unpacked under a longer name. It also bounds how deep directories are."""
_KINDS = {
    MemberType.FILE: EntryKind.FILE,
    MemberType.SPARSE: EntryKind.FILE,
    MemberType.DIRECTORY: EntryKind.DIRECTORY,
    MemberType.SYMLINK: EntryKind.SYMLINK,
    MemberType.HARDLINK: EntryKind.HARDLINK,
    MemberType.SPECIAL: EntryKind.DEVICE,
    MemberType.UNKNOWN: EntryKind.OTHER,
}
_PIPE = b"6"
_MODE = 0o7777
_MOST_DIGITS = 10
_LARGEST = (1 << 63) - 1


def read_layer_files(chunks: Iterator[bytes], *, most: int, hold: Callable[[int], None] = lambda _: None) -> FileList:
    """List the entries of an uncompressed stream, at most `most`, with names of a sane length together.

    The list is cut, with a sentence that says why, at that number and where the stream is damaged. What is not a tar has no entries.
    `hold` is called with bytes of memory that are about to be used. Raises what it and the chunks raise, but no InvalidContent.
    """
    found, held = FileList(most=most), _Held(hold)
    try:
        head, stream = _peek(chunks)
        if head.strip(b"\0") and not begins_archive(head):
            return replace(found, problem="it is not a tar archive", is_tar=False)
        problem = _read(_Contents(stream), found, held)
    except InvalidContent as exc:
        found.checksums.extend([0] * (len(found) - len(found.checksums)))
        problem = f"it is damaged after {len(found)} entries: {exc}"
    held.reach(found.weight)
    return replace(found, problem=problem, is_cut=bool(problem))


def _peek(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first block, or less if there is no more, and the whole stream."""
    first: list[bytes] = []
    while sum(map(len, first)) < BLOCK and (chunk := next(chunks, None)) is not None:
        first.append(chunk)
    return b"".join(first)[:BLOCK], chain(first, chunks)


class _Contents(Chunks):
    """A stream that computes the checksum of what is skipped: the contents of members, which nobody reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__(chunks)
        self._checksum = 0

    def skip(self, size: int) -> int:
        piece = self._take(size)
        self._checksum = isal_zlib.crc32(piece, self._checksum)
        return len(piece)

    def take_checksum(self) -> int:
        """The checksum of what was skipped since the last call."""
        checksum, self._checksum = self._checksum, 0
        return checksum


class _Held:
    """The memory of a list that grows, a MiB at a time."""

    def __init__(self, hold: Callable[[int], None]) -> None:
        self._hold, self._held = hold, 0

    def grow(self, size: int) -> None:
        """Hold this much altogether, as soon as a MiB is missing."""
        if size - self._held >= _STEP_BYTES:
            self.reach(size)

    def reach(self, size: int) -> None:
        """Hold this much altogether."""
        if size > self._held:
            self._hold(size - self._held)
            self._held = size


def _read(source: _Contents, found: FileList, held: _Held) -> str:
    """Add the members of a tar to the list; returns why some are missing, if they are."""
    reader = TarReader(source.read, source.skip)
    text = 0
    problem = ""
    for number, member in enumerate(reader):
        _add_checksum(found, source)
        name = _name(member, reader)
        text += text_memory(name) + text_memory(member.link)
        if number == found.most or text > found.most * _TEXT_BYTES:
            return f"it has more than {number} entries, of which only these are listed"
        held.grow(number * ENTRY_BYTES + text)
        if not _add(found, member, name, reader):
            problem = f"names longer than {MAX_PATH} bytes are left out"
    _add_checksum(found, source)
    return problem


def _add_checksum(found: FileList, source: _Contents) -> None:
    """Complete the last entry, whose content has been skipped."""
    checksum = source.take_checksum()
    if len(found.checksums) < len(found):
        found.checksums.append(checksum)


def _name(member: Member, reader: TarReader) -> str:
    """The name of a member; that of a sparse file may be an attribute."""
    name = (reader.attributes or {}).get(b"GNU.sparse.name")
    return member.name if name is None else name.decode("utf-8", "surrogateescape")


def _add(found: FileList, member: Member, name: str, reader: TarReader) -> bool:
    """Add a member, but for its checksum, which is known when the next one begins; returns whether a file can have such a name."""
    header, more = reader.header, reader.attributes or {}
    path, kind = clean_path(name), _KINDS[member.type]
    if len(path) > MAX_PATH:
        return False
    if _WHITEOUT in path:
        path, kind = _special(path, kind)
    link = member.link
    if kind is EntryKind.HARDLINK:
        link = clean_path(link)
    elif kind is EntryKind.DEVICE:
        if header[156:157] == _PIPE:
            kind, link = EntryKind.FIFO, ""
        else:
            link = f"{_number(header[329:337])}:{_number(header[337:345])}"
    elif kind is not EntryKind.SYMLINK:
        link = ""
    found.paths.append(path)
    found.kinds.append(kind)
    found.sizes.append(member.size - _skip_sparse_map(reader))
    mode, uid, gid = _read_rights(header[100:124])
    found.modes.append(mode)
    found.uids.append(_decimal(more[b"uid"]) if b"uid" in more else uid)
    found.gids.append(_decimal(more[b"gid"]) if b"gid" in more else gid)
    found.times.append(_decimal(more[b"mtime"]) if b"mtime" in more else _number(header[136:148]))
    found.links.append(link[:MAX_PATH])
    return True


def _skip_sparse_map(reader: TarReader) -> int:
    """Read the map with which the content of a sparse file of GNU's PAX format 1.0 begins; returns how many bytes it has.

    It is a number of pairs, then the pairs, each number on a line, and fills whole blocks. What ends before that, or is longer than any
    extension, is no map.
    """
    if (reader.attributes or {}).get(b"GNU.sparse.major") != b"1":
        return 0
    block = _read_block(reader)
    count = block.partition(b"\n")[0]
    if not count.isdigit() or len(count) > _MOST_DIGITS:
        return 0
    size, lines, wanted = len(block), block.count(b"\n"), 1 + 2 * int(count)
    while lines < wanted and size < MAX_EXTENSION_BYTES and (block := _read_block(reader)):
        size += len(block)
        lines += block.count(b"\n")
    return size if lines >= wanted else 0


def _read_block(reader: TarReader) -> bytes:
    """The next block of a member's content, or what is left."""
    block = b""
    while len(block) < BLOCK and (piece := next(reader.chunks(BLOCK - len(block)), b"")):
        block += piece
    return block


@lru_cache(maxsize=256)
def _read_rights(fields: bytes) -> tuple[int, int, int]:
    """Mode, user and group; few members differ in them."""
    return _number(fields[:8]) & _MODE, _number(fields[8:16]), _number(fields[16:])


def clean_path(name: str) -> str:
    """A name as a path below the root, which is empty itself."""
    path = name.removeprefix("./").strip("/")
    if not (path.startswith(".") or "//" in path or "/." in path):
        return path
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def _special(path: str, kind: EntryKind) -> tuple[str, EntryKind]:
    """The path and the kind of an entry with `.wh.` in its path."""
    folder, _, name = path.rpartition("/")
    if name == _OPAQUE:
        return folder, EntryKind.OPAQUE
    if path.startswith(_AUFS) or name.startswith(_AUFS) or name == _WHITEOUT:
        return path, EntryKind.AUFS
    if name.startswith(_WHITEOUT):
        return path.removesuffix(name) + name.removeprefix(_WHITEOUT), EntryKind.WHITEOUT
    return path, kind


def _number(field: bytes) -> int:
    """Octal digits or base-256; 0 for anything else, since no other entry depends on it."""
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        pass
    if not field[0] & 0x80:
        return 0
    value = int.from_bytes(field, "big") & ((1 << (8 * len(field) - 1)) - 1)
    return _within(value - (1 << (8 * len(field) - 1)) if field[0] & 0x40 else value)


def _decimal(value: bytes) -> int:
    """The whole seconds, or the number, of a PAX record; 0 for anything else."""
    try:
        return _within(int(value.partition(b".")[0]))
    except ValueError:
        return 0


def _within(value: int) -> int:
    """The number, or 0 if it does not fit into 64 bits."""
    return value if -_LARGEST <= value <= _LARGEST else 0
