"""Layer streams: every compression read to its end, damage and bombs told apart, whatever the chunks."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import random
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.archive import compression as compression_module
from stowage.services.archive.bounds import Costs
from stowage.services.archive.compression import Compression, Decompressor
from stowage.services.archive.layer import LayerDigester
from stowage.services.errors import InvalidContent
from stowage.services.oci.digest import Digest
from tests.builders import make_tar
from tests.engines import bounds, memory_budget

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
SKIPPABLE = struct.pack("<II", 0x184D2A53, 7) + b"skipped"
ENCODERS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.GZIP: gzip.compress,
    Compression.BZIP2: bz2.compress,
    Compression.XZ: lzma.compress,
    Compression.ZSTD: zstd.compress,
}
encoded = pytest.mark.parametrize("compression", ENCODERS)


def gzip_member(content: bytes, flags: int = 0) -> bytes:
    """A member with the header fields of RFC 1952 that `flags` name."""
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(5) + b"\xff"
    header += struct.pack("<H", 5) + b"extra" if flags & 4 else b""
    header += b"name\0" if flags & 8 else b""
    header += b"comment\0" if flags & 16 else b""
    header += struct.pack("<H", zlib.crc32(header) & 0xFFFF) if flags & 2 else b""
    return header + zlib.compress(content, wbits=-15) + struct.pack("<II", zlib.crc32(content), len(content))


def tar_of(content: bytes) -> bytes:
    return make_tar({"file": content})


def cut(content: bytes, size: int) -> Iterator[bytes]:
    return (content[start : start + size] for start in range(0, len(content), size))


def inflate(stored: bytes, compression: Compression, *, size: int = 1 << 20, ratio: int = 200, limit: int = 1 << 30) -> bytes:
    decompressor = Decompressor(compression, bounds(ratio, limit))
    plain = b"".join(output for chunk in cut(stored, size) for output in decompressor.decompress(chunk))
    decompressor.finish()
    assert decompressor.size == len(plain)
    return plain


def derive(
    stored: bytes, *, size: int = 1 << 20, algorithm: str = "sha256", ratio: int = 200, limit: int = 1 << 30
) -> tuple[Digest, int] | None:
    digester = LayerDigester(bounds(ratio, limit), algorithm=algorithm)
    try:
        for chunk in cut(stored, size):
            digester.feed(chunk)
        return digester.finish(Digest(algorithm, hashlib.new(algorithm, stored).hexdigest()))
    finally:
        digester.close()


@pytest.mark.parametrize(
    ("head", "compression"),
    [
        pytest.param(b"BZh9", Compression.BZIP2, id="bzip2"),
        pytest.param(b"\x1f\x8b\x08\x00", Compression.GZIP, id="gzip"),
        pytest.param(b"\x1f\x8b\x07\x00", Compression.NONE, id="gzip of an unknown method"),
        pytest.param(b"\xfd7zXZ\x00\x00\x04", Compression.XZ, id="xz"),
        pytest.param(b"\x28\xb5\x2f\xfd", Compression.ZSTD, id="zstd"),
        pytest.param(b"\x50\x2a\x4d\x18\x00\x00\x00\x00", Compression.ZSTD, id="first skippable magic"),
        pytest.param(b"\x5f\x2a\x4d\x18\x00\x00\x00\x00", Compression.ZSTD, id="last skippable magic"),
        pytest.param(b"\x60\x2a\x4d\x18\x00\x00\x00\x00", Compression.NONE, id="beyond the skippable magics"),
        pytest.param(b"\x50\x2a\x4d\x18\x00\x00\x00", Compression.NONE, id="skippable without its length"),
        pytest.param(b"", Compression.NONE, id="nothing"),
        pytest.param(b"./etc/passwd", Compression.NONE, id="tar"),
    ],
)
def test_compression_is_told_by_the_first_bytes(head: bytes, compression: Compression) -> None:
    assert Compression.detect(head) is compression


@encoded
def test_every_member_is_read(compression: Compression) -> None:
    encode = ENCODERS[compression]
    stored = encode(b"one") + encode(b"") + encode(b"two")
    for size in (1, 7, 1 << 20):
        assert inflate(stored, compression, size=size) == b"onetwo"


def test_many_small_members_are_read() -> None:
    contents = [f"{number}".encode() * 50 for number in range(5000)]
    stored = b"".join(gzip.compress(content, 1) for content in contents)
    assert inflate(stored, Compression.GZIP) == b"".join(contents)


def test_skippable_zstd_frames_are_passed_over() -> None:
    stored = SKIPPABLE + zstd.compress(b"one") + SKIPPABLE + SKIPPABLE + zstd.compress(b"two") + SKIPPABLE
    for size in (1, 5, 1 << 20):
        assert inflate(stored, Compression.ZSTD, size=size) == b"onetwo"


@pytest.mark.parametrize("flags", range(32))
def test_gzip_headers_may_be_cut_anywhere(flags: int) -> None:
    stored = gzip_member(b"first", flags) + gzip_member(b"second", flags)
    for at in range(1, len(stored)):
        decompressor = Decompressor(Compression.GZIP, bounds(200, 1 << 30))
        plain = b"".join([*decompressor.decompress(stored[:at]), *decompressor.decompress(stored[at:])])
        decompressor.finish()
        assert plain == b"firstsecond"


def test_a_gzip_name_without_end_is_refused() -> None:
    with pytest.raises(InvalidContent, match="header too long"):
        inflate(b"\x1f\x8b\x08\x08" + bytes(6) + b"n" * (256 << 10), Compression.GZIP)


@encoded
def test_output_comes_in_bounded_chunks(compression: Compression) -> None:
    decompressor = Decompressor(compression, bounds(200, 1 << 30))
    encode = ENCODERS[compression]
    outputs = list(decompressor.decompress(encode(bytes(5_000_000)) + encode(b"")))
    decompressor.finish()
    assert sum(map(len, outputs)) == 5_000_000
    assert all(1 <= len(output) <= 512 << 10 for output in outputs)


@encoded
def test_a_truncated_stream_is_refused(compression: Compression) -> None:
    stored = ENCODERS[compression](random.Random(1).randbytes(1000))
    for keep in (1, 5, len(stored) // 2, len(stored) - 1):
        with pytest.raises(InvalidContent, match="unexpected end"):
            inflate(stored[:keep], compression)


@encoded
@pytest.mark.parametrize(
    "tail", [pytest.param(b"\x01", id="byte"), pytest.param(b"garbage" * 9, id="text"), pytest.param(b"\x1f\x8b\x08", id="half a header")]
)
def test_a_garbage_tail_is_refused(compression: Compression, tail: bytes) -> None:
    for size in (1, 1 << 20):
        with pytest.raises(InvalidContent):
            inflate(ENCODERS[compression](b"content") + tail, compression, size=size)


@encoded
def test_zero_padding_belongs_to_xz_alone(compression: Compression) -> None:
    stored = ENCODERS[compression](b"content") + bytes(512)
    if compression is Compression.XZ:
        assert inflate(stored + ENCODERS[compression](b" more"), compression, size=100) == b"content more"
    else:
        with pytest.raises(InvalidContent):
            inflate(stored, compression)


@encoded
def test_a_damaged_stream_is_refused(compression: Compression) -> None:
    content = random.Random(2).randbytes(5000)
    checked: dict[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
    stored = bytearray(zstd.compress(content, options=checked) if compression is Compression.ZSTD else ENCODERS[compression](content))
    stored[len(stored) // 2] ^= 0xFF
    with pytest.raises(InvalidContent, match=f"invalid {compression} stream"):
        inflate(bytes(stored), compression)


@encoded
def test_a_bomb_passes_the_ratio_and_the_absolute_limit(compression: Compression) -> None:
    stored = ENCODERS[compression](bytes(3_000_000))
    with pytest.raises(InvalidContent, match="bomb"):
        inflate(stored, compression, ratio=10, limit=1_000_000)
    assert len(inflate(stored, compression, ratio=10, limit=3_000_000)) == 3_000_000
    assert len(inflate(stored, compression, ratio=1_000_000, limit=1_000_000)) == 3_000_000


def test_an_xz_stream_may_not_claim_all_memory() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}]
    stored = lzma.compress(b"content", filters=filters)
    with pytest.raises(InvalidContent, match="invalid xz stream"):
        inflate(stored, Compression.XZ)


@given(
    parts=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    compression=st.sampled_from(list(ENCODERS)),
    size=st.integers(1, 9000),
    output=st.sampled_from([1, 100, 4096]),
)
def test_inflating_inverts_encoding(parts: list[bytes], compression: Compression, size: int, output: int) -> None:
    stored = b"".join(map(ENCODERS[compression], parts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression_module, "_OUTPUT_BYTES", output)
        patch.setattr(compression_module, "_FIRST_INPUT_BYTES", 50)
        patch.setattr(compression_module, "_INPUT_BYTES", 700)
        assert inflate(stored, compression, size=size) == b"".join(parts)


@given(
    seed=st.integers(0, 2**32),
    length=st.integers(0, 200_000),
    compression=st.sampled_from([None, *ENCODERS]),
    size=st.sampled_from([100, 5000, 70_000, 1 << 20]),
)
def test_the_diff_id_is_the_digest_of_the_tar(seed: int, length: int, compression: Compression | None, size: int) -> None:
    plain = tar_of(random.Random(seed).randbytes(length) + bytes(length))
    stored = plain if compression is None else ENCODERS[compression](plain)
    assert derive(stored, size=size) == (Digest.of(plain), len(plain))


def test_a_large_stream_goes_through_threads() -> None:
    plain = tar_of(random.Random(3).randbytes(3_000_000) + bytes(9_000_000))
    stored = gzip.compress(plain, 1)
    assert derive(stored, size=1 << 16) == (Digest.of(plain), len(plain))


def test_a_tar_stored_under_another_algorithm_still_has_a_sha256_diff_id() -> None:
    plain = tar_of(b"content" * 100_000)
    assert derive(plain, algorithm="sha512") == (Digest.of(plain), len(plain))


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param(b'{"architecture":"amd64"}', id="config"),
        pytest.param(random.Random(4).randbytes(2000), id="random bytes"),
        pytest.param(gzip.compress(b"content")[:-1], id="truncated gzip"),
        pytest.param(gzip.compress(random.Random(5).randbytes(3_000_000), 1) + b"tail", id="large gzip with a tail"),
        pytest.param(b"\x1f\x8b\x08" + random.Random(6).randbytes(3_000_000), id="large damaged gzip"),
        pytest.param(bytes(100), id="zeros that fill no block"),
    ],
)
def test_what_is_neither_tar_nor_compressed_has_no_facts(stored: bytes) -> None:
    assert derive(stored) is None


@pytest.mark.parametrize("plain", [pytest.param(b"", id="no bytes"), pytest.param(bytes(1024), id="end blocks alone")])
def test_an_empty_tar_is_a_layer(plain: bytes) -> None:
    assert derive(plain) == (Digest.of(plain), len(plain))


@pytest.mark.parametrize("length", [pytest.param(100_000, id="in place"), pytest.param(50_000_000, id="in threads")])
def test_a_bomb_is_refused_when_the_facts_are_asked_for(length: int) -> None:
    with pytest.raises(InvalidContent, match="bomb"):
        derive(gzip.compress(bytes(length), 1), size=1000, ratio=10, limit=1000)


def test_restarting_forgets_what_was_fed() -> None:
    digester = LayerDigester(bounds(200, 1 << 30))
    digester.feed(gzip.compress(random.Random(7).randbytes(2_000_000), 1))
    digester.restart()
    plain = tar_of(b"content")
    digester.feed(gzip.compress(plain))
    assert digester.finish(Digest.of(b"unused")) == (Digest.of(plain), len(plain))


def test_closing_in_the_middle_ends_the_threads() -> None:
    before = threading.active_count()
    digester = LayerDigester(bounds(200, 1 << 30))
    for chunk in cut(gzip.compress(random.Random(8).randbytes(8_000_000), 1), 1 << 20):
        digester.feed(chunk)
    assert threading.active_count() > before
    digester.close()
    digester.close()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("member", "compression"),
    [
        pytest.param(gzip.compress(b""), Compression.GZIP, id="gzip"),
        pytest.param(zstd.compress(b""), Compression.ZSTD, id="zstd"),
        pytest.param(b"\x50\x2a\x4d\x18\0\0\0\0", Compression.ZSTD, id="skippable frames"),
        pytest.param(bz2.compress(b"", 1), Compression.BZIP2, id="bzip2"),
        pytest.param(lzma.compress(b""), Compression.XZ, id="xz"),
    ],
)
def test_a_stream_of_nothing_but_empty_members_is_refused(member: bytes, compression: Compression) -> None:
    with pytest.raises(InvalidContent, match=f"^{compression} stream has too many members for its size: refused as a bomb$"):
        inflate(member * 100_000, compression)


def test_a_layer_of_nothing_but_empty_members_is_refused() -> None:
    with pytest.raises(InvalidContent, match="too many members"):
        derive(zstd.compress(b"") * 100_000)


def test_members_of_all_streams_of_a_load_count_together() -> None:
    def load(streams: int) -> None:
        with closing(Costs(memory_budget())) as costs:
            costs.send(1000)
            for _ in range(streams):
                together = replace(bounds(), costs=costs)
                assert b"".join(Decompressor(Compression.GZIP, together).decompress(gzip_member(b"a") * 100)) == b"a" * 100

    load(streams=100)
    with pytest.raises(InvalidContent, match="too many members"):
        load(streams=200)


def test_a_stream_of_empty_blocks_in_a_stream_is_refused() -> None:
    stored = gzip_member(b"")[:-10] + b"\0\0\0\xff\xff" * (8 * MIB)
    with closing(Costs(memory_budget())) as costs:
        decompressor = Decompressor(Compression.GZIP, replace(bounds(), costs=costs))
        costs.send(len(stored) // 16)
        assert list(decompressor.decompress(stored)) == []
        with pytest.raises(InvalidContent, match="have too many bytes for the size of what was sent: refused as a bomb"):
            list(decompressor.decompress(stored))


@pytest.mark.parametrize(
    ("member", "end", "compression"),
    [
        pytest.param(gzip_member(random.Random(1).randbytes(100)), gzip.compress(b""), Compression.GZIP, id="gzip, and an empty one"),
        pytest.param(zstd.compress(random.Random(1).randbytes(100)) + SKIPPABLE, SKIPPABLE, Compression.ZSTD, id="zstd, and tables"),
    ],
)
def test_a_stream_of_very_many_small_members_is_read(member: bytes, end: bytes, compression: Compression) -> None:
    """Blocks that can be found, or a member for each file of a layer, as bgzip, eStargz and zstd:chunked write."""
    assert len(inflate(member * 50_000 + end, compression)) == 50_000 * 100
