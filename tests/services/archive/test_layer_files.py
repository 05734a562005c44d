"""What is in a layer, read from its stream: names as they are unpacked, whiteouts, links, odd archives and hostile ones."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.archive.file_list import EntryKind, FileList
from stowage.services.archive.layer_files import clean_path, read_layer_files
from stowage.services.errors import InvalidContent, Unavailable
from tests.builders import MTIME, make_tar

MOST = 1000


def pieces(raw: bytes, size: int = 1000) -> Iterator[bytes]:
    return (raw[start : start + size] for start in range(0, len(raw), size))


def read(raw: bytes, *, most: int = MOST) -> FileList:
    """The list, which is also the same after it was kept."""
    found = read_layer_files(pieces(raw), most=most)
    assert FileList.parse(found.dump()).dump() == found.dump()
    return found


def entries(found: FileList) -> list[tuple[str, str, int, str]]:
    return list(zip(found.paths, map(str, found.kinds), found.sizes, found.links, strict=True))


def member(name: str, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar(*members: tarfile.TarInfo, archive_format: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of members whose content is zeros."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=archive_format) as archive:
        for info in members:
            archive.addfile(info, io.BytesIO(bytes(info.size)))
    return buffer.getvalue()


def test_an_entry_has_its_attributes() -> None:
    found = read(tar(member("a/b", size=700, mode=0o104755, uid=1000, gid=50, mtime=MTIME), member("c", mtime=-5)))
    assert entries(found) == [("a/b", "file", 700, ""), ("c", "file", 0, "")]
    assert (list(found.modes), list(found.uids), list(found.gids), list(found.times)) == ([0o4755, 0o644], [1000, 0], [50, 0], [MTIME, -5])
    assert list(found.checksums) == [zlib.crc32(bytes(700)), 0]
    assert (found.problem, found.is_cut, found.is_tar) == ("", False, True)


def test_pax_attributes_are_preferred() -> None:
    raw = tar(member("a", uid=3_000_000_000, gid=4_000_000_000, mtime=1700000000.75), archive_format=tarfile.PAX_FORMAT)
    found = read(raw)
    assert (found.uids[0], found.gids[0], found.times[0]) == (3_000_000_000, 4_000_000_000, 1_700_000_000)


def test_each_kind() -> None:
    found = read(
        tar(
            member("d", type=tarfile.DIRTYPE),
            member("d/s", type=tarfile.SYMTYPE, linkname="../etc"),
            member("d/h", type=tarfile.LNKTYPE, linkname="./x/../d/f"),
            member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            member("sda", type=tarfile.BLKTYPE, devmajor=8, devminor=0),
            member("pipe", type=tarfile.FIFOTYPE),
            member("what", type=b"Q"),
        )
    )
    assert entries(found) == [
        ("d", "directory", 0, ""),
        ("d/s", "symlink", 0, "../etc"),
        ("d/h", "hardlink", 0, "d/f"),
        ("null", "device", 0, "1:3"),
        ("sda", "device", 0, "8:0"),
        ("pipe", "fifo", 0, ""),
        ("what", "other", 0, ""),
    ]


@pytest.mark.parametrize(
    ("name", "path", "kind"),
    [
        ("d/.wh.gone", "d/gone", "whiteout"),
        (".wh.gone", "gone", "whiteout"),
        ("./d/.wh..wh..opq", "d", "opaque"),
        (".wh..wh..opq", "", "opaque"),
        (".wh..wh.aufs", ".wh..wh.aufs", "aufs"),
        (".wh..wh.plnk/12.3", ".wh..wh.plnk/12.3", "aufs"),
        (".wh..wh.plnk", ".wh..wh.plnk", "aufs"),
        ("d/.wh.", "d/.wh.", "aufs"),
        ("d/.wh.x/real", "d/.wh.x/real", "file"),
        ("d/a.wh.b", "d/a.wh.b", "file"),
        ("d/.what", "d/.what", "file"),
        ("stargz.index.json", "stargz.index.json", "file"),
        (".prefetch.landmark", ".prefetch.landmark", "file"),
    ],
)
def test_marks_are_known_by_their_names(name: str, path: str, kind: str) -> None:
    assert entries(read(tar(member(name)))) == [(path, kind, 0, "")]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("./a/b", "a/b"),
        ("/a/b", "a/b"),
        ("a//b/", "a/b"),
        ("a/./b", "a/b"),
        ("a/../b", "b"),
        ("../../etc/passwd", "etc/passwd"),
        ("a/../../../b", "b"),
        (".", ""),
        ("./", ""),
        ("/", ""),
        ("", ""),
        ("..", ""),
        (".bashrc", ".bashrc"),
        ("a/.b/..c", "a/.b/..c"),
        ("a\\b", "a\\b"),
    ],
)
def test_a_name_never_leaves_the_root(name: str, path: str) -> None:
    assert clean_path(name) == path


@given(st.text("./ab", max_size=20))
def test_a_cleaned_name_stays_as_it_is(name: str) -> None:
    path = clean_path(name)
    assert clean_path(path) == path
    assert not {"", ".", ".."} & set(path.split("/")) or path == ""


@pytest.mark.parametrize("archive_format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names(archive_format: int) -> None:
    name, link = "long/" * 60 + "name", "target/" * 50
    found = read(tar(member(name, type=tarfile.SYMTYPE, linkname=link), archive_format=archive_format))
    assert (found.paths, found.links) == ([name], [link])


def test_a_name_that_is_no_utf8_keeps_its_bytes() -> None:
    raw = tar(member("caf\udce9"))
    assert b"caf\xe9" in raw
    assert read(raw).paths == ["caf\udce9"]


@pytest.mark.parametrize("count", [3, 300])
def test_the_map_of_a_sparse_file_is_no_content(tmp_path: Path, count: int) -> None:
    """With 300 pieces the map has several blocks."""
    with (tmp_path / "disk.img").open("wb") as image:
        for number in range(count):
            image.seek(number * 65536)
            image.write(b"data" * 1024)
    (tmp_path / "next").write_bytes(b"12345")
    command = ["tar", "-C", str(tmp_path), "--format=pax", "--sparse", "--sparse-version=1.0", "-cf-", "disk.img", "next"]
    archive = subprocess.run(command, check=True, capture_output=True).stdout
    assert b"GNU.sparse.major=1" in archive
    assert entries(read(archive)) == [("disk.img", "file", count * 4096, ""), ("next", "file", 5, "")]


@pytest.mark.parametrize("content", [b"", b"1\n", b"9" * 600, b"no map", b"2\n1\n" + b"\0" * 600])
def test_what_is_no_map_of_a_sparse_file_is_content(content: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member("odd", size=len(content), pax_headers={"GNU.sparse.major": "1"}), io.BytesIO(content))
    assert entries(read(buffer.getvalue())) == [("odd", "file", len(content), "")]


def test_sparse_files_count_what_is_stored_under_their_real_names() -> None:
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "disk.img", "GNU.sparse.realsize": "1000000"}
    found = read(tar(member("GNUSparseFile.1/disk.img", size=512, pax_headers=pax), archive_format=tarfile.PAX_FORMAT))
    assert entries(found) == [("disk.img", "file", 512, "")]


@pytest.mark.parametrize("raw", [b"", bytes(512), bytes(10240)], ids=["nothing", "a block", "an archive"])
def test_an_empty_layer_has_no_entries(raw: bytes) -> None:
    found = read(raw)
    assert (len(found), found.problem, found.is_tar) == (0, "", True)


@pytest.mark.parametrize("raw", [b'{"some": "json"}', b"x" * 5000], ids=["short", "long"])
def test_what_is_no_tar_is_said_to_be_none(raw: bytes) -> None:
    found = read(raw)
    assert (len(found), found.problem, found.is_tar, found.is_cut) == (0, "it is not a tar archive", False, False)


def test_a_list_ends_where_the_archive_is_damaged() -> None:
    whole = make_tar({"a": b"1" * 600, "b": b"2" * 600})
    found = read(whole[: 1536 + 512 + 100])
    assert (found.paths, found.problem, found.is_cut) == (["a", "b"], "it is damaged after 2 entries: unexpected EOF", True)


def test_a_list_ends_where_the_stream_is_refused() -> None:
    def stream() -> Iterator[bytes]:
        yield make_tar({"a": b"1"})[:1024]
        raise InvalidContent("gzip stream holds more than 200 times its size: refused as a bomb")

    found = read_layer_files(stream(), most=MOST)
    assert found.paths == ["a"]
    assert found.problem == "it is damaged after 1 entries: gzip stream holds more than 200 times its size: refused as a bomb"


@pytest.mark.parametrize("count", [MOST, MOST + 1])
def test_a_list_is_cut_at_a_number_of_entries(count: int) -> None:
    found = read(make_tar({str(number): b"" for number in range(count)}))
    assert len(found) == MOST
    assert found.is_cut == (count > MOST)
    assert found.problem == ("" if count == MOST else "it has more than 1000 entries, of which only these are listed")


def test_a_list_is_cut_when_its_names_are_too_long_together() -> None:
    links = [member(f"{number}", type=tarfile.SYMTYPE, linkname="x" * 3000) for number in range(100)]
    found = read(tar(*links), most=100)
    assert 5 < len(found) < 10 and found.is_cut


def test_a_name_that_no_file_can_have_is_left_out() -> None:
    found = read(make_tar([("a/" * 3000 + "b", b""), ("c", b"1")], tar_format=tarfile.PAX_FORMAT))
    assert (found.paths, found.sizes.tolist()) == (["c"], [1])
    assert (found.problem, found.is_cut) == ("names longer than 4096 bytes are left out", True)


def test_a_link_that_no_symlink_can_have_is_cut() -> None:
    found = read(tar(member("a", type=tarfile.SYMTYPE, linkname="x" * 10_000)))
    assert found.links == ["x" * 4096]


def test_memory_is_asked_for_before_it_is_used() -> None:
    held: list[int] = []

    def hold(size: int) -> None:
        held.append(size)
        if sum(held) > 2 << 20:
            raise Unavailable("no memory")

    with pytest.raises(Unavailable):
        read_layer_files(pieces(make_tar({f"{number}": b"" for number in range(20_000)})), most=50_000, hold=hold)
    assert len(held) > 1


@pytest.mark.parametrize(
    "kept",
    [b"", b"nothing", FileList().dump()[:-1], FileList(paths=["a"], kinds=[EntryKind.FILE]).dump()],
    ids=["empty", "no zstd", "cut", "columns of different lengths"],
)
def test_what_is_no_list_is_refused(kept: bytes) -> None:
    with pytest.raises(InvalidContent):
        FileList.parse(kept)


def test_wide_names_reserve_what_they_take() -> None:
    names = ["\U0001f600" + "n" * 4000 + f"{number}" for number in range(5000)]
    held: list[int] = []
    read_layer_files(pieces(tar(*map(member, names))), most=500_000, hold=held.append)
    assert sum(held) >= sum(map(sys.getsizeof, names))
