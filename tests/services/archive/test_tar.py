"""The tar reader against Python's tarfile as a writer, the writer against it as a reader, and both against hostile bytes."""

from __future__ import annotations

import io
import itertools
import tarfile
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.archive.tar_reader import ARCHIVE_EXTENSION_BYTES, BLOCK, CHUNK, MEMBER_EXTENSION_BYTES, MemberType, TarReader
from stowage.services.archive.tar_writer import END, NewMember, directory_header, file_header, padding, write_tar
from stowage.services.errors import InvalidContent
from tests.builders import make_tar

NAMES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=300).filter(
    lambda name: name.strip("/")
)
FORMATS = st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])


def walk(archive: bytes) -> list[tuple[str, MemberType, bytes, str]]:
    reader = TarReader(io.BytesIO(archive).read)
    return [(member.name, member.type, b"".join(reader.chunks()), member.link) for member in reader]


def header(
    name: bytes = b"file", *, size: bytes = b"00000000000\0", kind: bytes = b"0", magic: bytes = b"ustar\x0000", prefix: bytes = b""
) -> bytes:
    """A header of these raw fields with a right checksum."""
    fields = [
        name.ljust(100, b"\0"),
        b"0000644\0",
        b"0000000\0",
        b"0000000\0",
        size,
        b"00000000000\0",
        b" " * 8,
        kind,
        bytes(100),
        magic,
        bytes(80),
    ]
    block = b"".join(fields) + prefix.ljust(155, b"\0") + bytes(12)
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def old_sparse_file() -> bytes:
    """Its map goes on in the next block; as such a block it says so too."""
    block = bytearray(header(b"old", kind=b"S", size=b"00000000003\0"))
    block[482] = block[504] = 1
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 256)
    return bytes(block)


def pax(records: bytes) -> bytes:
    return header(b"pax", size=b"%011o\0" % len(records), kind=b"x") + records + padding(len(records))


@given(st.dictionaries(NAMES, st.binary(max_size=1500), max_size=5), FORMATS)
def test_reads_what_tarfile_writes(files: dict[str, bytes], tar_format: int) -> None:
    found = walk(make_tar(files, tar_format=tar_format))
    assert found == [(name, MemberType.FILE, content, "") for name, content in files.items()]


@given(st.binary(max_size=3 * BLOCK))
def test_garbage_is_refused_or_empty(garbage: bytes) -> None:
    try:
        found = walk(garbage)
    except InvalidContent:
        return
    assert found == []


@given(NAMES.filter(lambda name: not name.endswith("/")), st.binary(max_size=1500))
def test_tarfile_reads_what_is_written(name: str, content: bytes) -> None:
    archive = directory_header("blobs/", 0o755) + file_header(name, len(content), 0o444) + content + padding(len(content)) + END
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        folder, member = opened.getmembers()
        written = opened.extractfile(member)
        assert written is not None
        assert (folder.name, folder.mode, folder.isdir()) == ("blobs", 0o755, True)
        assert (member.name, member.mode, member.mtime, member.uid, written.read()) == (name, 0o444, 0, 0, content)


def test_sizes_beyond_octal_are_base_256() -> None:
    block = file_header("large", 9 << 30, 0o444)
    member = next(iter(TarReader(io.BytesIO(block).read)))
    assert member.size == 9 << 30
    assert tarfile.TarInfo.frombuf(block, "utf-8", "strict").size == 9 << 30


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        pytest.param(b"0", MemberType.FILE, id="file"),
        pytest.param(b"\0", MemberType.FILE, id="old file"),
        pytest.param(b"7", MemberType.FILE, id="contiguous"),
        pytest.param(b"1", MemberType.HARDLINK, id="hard link"),
        pytest.param(b"2", MemberType.SYMLINK, id="symlink"),
        pytest.param(b"3", MemberType.SPECIAL, id="character device"),
        pytest.param(b"4", MemberType.SPECIAL, id="block device"),
        pytest.param(b"5", MemberType.DIRECTORY, id="directory"),
        pytest.param(b"6", MemberType.SPECIAL, id="pipe"),
        pytest.param(b"V", MemberType.UNKNOWN, id="volume header"),
    ],
)
def test_types(kind: bytes, expected: MemberType) -> None:
    assert [member.type for member in TarReader(io.BytesIO(header(kind=kind) + END).read)] == [expected]


def test_old_folder_is_told_by_its_slash() -> None:
    assert walk(header(b"folder/", kind=b"\0") + END) == [("folder/", MemberType.DIRECTORY, b"", "")]


def test_member_without_content_has_none_whatever_its_size_says() -> None:
    archive = header(b"link", kind=b"1", size=b"00000001000\0") + header(b"next") + END
    assert [name for name, *_ in walk(archive)] == ["link", "next"]


def test_ustar_prefix_comes_before_the_name() -> None:
    assert walk(header(b"name", prefix=b"long/prefix") + END)[0][0] == "long/prefix/name"


def test_gnu_header_has_no_prefix() -> None:
    assert walk(header(b"name", magic=b"ustar  \0", prefix=b"12345") + END)[0][0] == "name"


def test_pax_records_override_the_header() -> None:
    archive = pax(b"13 path=long\n" + b"10 size=3\n" + b"14 comment=hi\n") + header(b"short") + b"abc" + padding(3) + END
    assert walk(archive) == [("long", MemberType.FILE, b"abc", "")]


def test_sparse_files_are_told_and_give_what_is_stored() -> None:
    archive = (
        pax(b"22 GNU.sparse.major=1\n") + header(b"new", size=b"00000000003\0") + b"abc" + padding(3) + header(b"old", kind=b"S") + END
    )
    assert walk(archive) == [("new", MemberType.SPARSE, b"abc", ""), ("old", MemberType.SPARSE, b"", "")]


def test_map_of_an_old_sparse_file_is_no_content() -> None:
    block = old_sparse_file()
    more, last = bytes(504) + b"\1" + bytes(7), bytes(BLOCK)
    assert walk(block + more + last + b"abc" + padding(3) + END) == [("old", MemberType.SPARSE, b"abc", "")]


def test_global_pax_header_changes_nothing() -> None:
    records = b"13 path=long\n"
    archive = header(b"global", size=b"%011o\0" % len(records), kind=b"g") + records + padding(len(records)) + header(b"short") + END
    assert [name for name, *_ in walk(archive)] == ["short"]


def test_signed_checksum_of_old_writers_is_accepted() -> None:
    block = header("é".encode())
    signed = sum(block[:148]) + sum(block[156:]) + 256 - 256 * sum(byte > 127 for byte in block)
    assert walk(block[:148] + b"%06o\0 " % signed + block[156:] + END)[0][0] == "é"


@pytest.mark.parametrize("rest", [b"", b"abc", b"abc" + bytes(100), b"abc" + bytes(509)])
def test_source_may_end_behind_a_member(rest: bytes) -> None:
    block = header(b"only", size=b"%011o\0" % min(len(rest), 3))
    assert walk(block + rest) == [("only", MemberType.FILE, rest[:3], "")]


def test_nothing_is_read_beyond_the_end() -> None:
    source = io.BytesIO(header(b"only") + END + b"rest")
    list(TarReader(source.read))
    assert source.read() == b"rest"


@pytest.mark.parametrize(
    ("archive", "words"),
    [
        pytest.param(header()[:100], "unexpected EOF", id="header cut"),
        pytest.param(header(size=b"00000000010\0") + b"abc", "unexpected EOF", id="content cut"),
        pytest.param(b"this is not a tar file" * 100, "archive/tar: invalid tar header", id="text"),
        pytest.param(header()[:50] + b"X" + header()[51:], "archive/tar: invalid tar header", id="wrong checksum"),
        pytest.param(bytes(BLOCK) + header(), "archive/tar: invalid tar header", id="header after a block of zeros"),
        pytest.param(header(size=b"\xff" * 12), "archive/tar: invalid tar header", id="negative size"),
        pytest.param(header(size=b"\x80" + b"\x7f" * 11), "archive/tar: invalid tar header", id="enormous size"),
        pytest.param(header(size=b"00000000009\0"), "archive/tar: invalid tar header", id="not octal"),
        pytest.param(header(size=b"-0000000001\0"), "archive/tar: invalid tar header", id="signed octal"),
        pytest.param(pax(b"xx path=y\n"), "archive/tar: invalid tar header", id="record without a length"),
        pytest.param(pax(b"99 path=y\n"), "archive/tar: invalid tar header", id="record longer than the member"),
        pytest.param(pax(b"3 path=y\n"), "archive/tar: invalid tar header", id="record shorter than its key"),
        pytest.param(pax(b"11 path=a\0b\n"), "archive/tar: invalid tar header", id="NUL in a path"),
        pytest.param(pax(b"11 size=-1\n"), "archive/tar: invalid tar header", id="negative PAX size"),
        pytest.param(header(kind=b"L", size=b"77777777777\0"), "archive/tar: header field too long", id="long name of 8 GiB"),
        pytest.param(header(kind=b"x", size=b"00010000001\0"), "archive/tar: header field too long", id="PAX records of 2 MiB"),
    ],
)
def test_damage(archive: bytes, words: str) -> None:
    with pytest.raises(InvalidContent, match="^" + words):
        walk(archive)


def test_many_pax_records_cost_linear_time_and_memory() -> None:
    records = b"9 key=ab\n" * (1 << 16)
    tracemalloc.start()
    try:
        assert walk(pax(records) + header(b"file") + END)[0][0] == "file"
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def read_until_refused(block: bytes) -> tuple[int, str]:
    """How many bytes of this, over and over, the reader takes until it refuses more."""
    taken = 0
    endless = itertools.cycle([block])
    rest = memoryview(b"")

    def read(size: int) -> bytes:
        nonlocal taken, rest
        rest = rest or memoryview(next(endless))
        piece, rest = bytes(rest[:size]), rest[size:]
        taken += len(piece)
        assert taken < 4 * ARCHIVE_EXTENSION_BYTES
        return piece

    with pytest.raises(InvalidContent) as raised:
        for _ in TarReader(read):
            pass
    return taken, str(raised.value)


@pytest.mark.parametrize(
    ("block", "most"),
    [
        pytest.param(pax(b"6 a=b\n" * 170_000), 2 << 20, id="short PAX records"),
        pytest.param(pax(b"6 a=b\n" * 340) + header(), 2 << 20, id="short PAX records of many members"),
        pytest.param(pax(b"%d a=%s\n" % (1 << 19, bytes((1 << 19) - 10))), ARCHIVE_EXTENSION_BYTES + BLOCK, id="long PAX records"),
        pytest.param(header(kind=b"L", size=b"00001000000\0") + bytes(1 << 18), ARCHIVE_EXTENSION_BYTES + BLOCK, id="long names"),
        pytest.param(header(kind=b"g"), ARCHIVE_EXTENSION_BYTES + BLOCK, id="empty extensions"),
        pytest.param(old_sparse_file(), ARCHIVE_EXTENSION_BYTES + MEMBER_EXTENSION_BYTES + 2 * BLOCK, id="the map of a sparse file"),
    ],
)
def test_what_extends_headers_is_bounded_over_the_archive(block: bytes, most: int) -> None:
    taken, words = read_until_refused(block)
    assert taken <= most
    assert words == "archive/tar: invalid tar header: its extensions are too many or too long"


def test_every_member_may_have_a_long_path_and_attributes() -> None:
    attributes = b"".join(b"127 SCHILY.xattr.user.a%d=%s\n" % (n, bytes(100)) for n in range(10, 20))
    path = b"4014 path=" + b"p" * 4003 + b"\n"
    ordinary = pax(b"30 mtime=1350244992.023960108\n" * 3 + attributes) + header()
    archive = ordinary * 20_000 + (pax(path) + header()) * 5000
    assert sum(1 for _ in TarReader(io.BytesIO(archive).read)) == 25_000


def test_large_content_comes_in_bounded_chunks() -> None:
    content = bytes(3 * CHUNK + 5)
    archive = file_header("large", len(content), 0o644) + content + padding(len(content)) + END
    reader = TarReader(io.BytesIO(archive).read)
    sizes = [len(chunk) for _ in reader for chunk in reader.chunks()]
    assert sizes == [CHUNK, CHUNK, CHUNK, 5]


def test_no_chunk_of_an_archive_is_empty() -> None:
    """The header, the content and the end fill a chunk exactly."""
    content = bytes(CHUNK - BLOCK - len(END))
    chunks = list(write_tar({"a": NewMember(0o644, len(content), lambda: [content])}))
    assert [len(chunk) for chunk in chunks] == [CHUNK]
