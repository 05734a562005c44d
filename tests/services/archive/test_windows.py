"""The memory that a decoder takes, as the head of a stream says it, against what the decoders themselves say."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random
import sys

import pytest

from stowage.services.archive.compression import Compression
from stowage.services.archive.windows import MAX_WINDOW, decoder_memory

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
TEXT = random.Random(1).randbytes(3000)


def xz(*filters: dict[str, int]) -> bytes:
    return lzma.compress(TEXT, filters=list(filters))


def frame(content: bytes = TEXT, *, known: bool = False, **options: int) -> bytes:
    """A zstd frame that says how long its content is, or does not."""
    chosen: dict[int, int] = {zstd.CompressionParameter[name]: value for name, value in options.items()}
    compressor = zstd.ZstdCompressor(options=chosen)
    if known:
        compressor.set_pledged_input_size(len(content))
    return compressor.compress(content) + compressor.flush()


def needed(compression: Compression, stored: bytes) -> int:
    """What the shortest beginning says that says anything; a longer one must say the same."""
    for length in range(1, len(stored)):
        memory = decoder_memory(compression, stored[:length])
        if memory is not None:
            assert decoder_memory(compression, memoryview(stored)) == memory
            return memory
    pytest.fail("no beginning was enough")


@pytest.mark.parametrize("size", [4096, 3 << 12, MIB, 3 * MIB, 64 * MIB, 96 * MIB])
def test_an_xz_stream_takes_its_dictionary(size: int) -> None:
    stored = xz({"id": lzma.FILTER_LZMA2, "dict_size": size})
    memory = needed(Compression.XZ, stored)
    assert size < memory <= size + MIB
    assert lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=memory).decompress(stored) == TEXT
    with pytest.raises(lzma.LZMAError, match="Memory usage limit"):
        lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=size).decompress(stored)


def test_filters_before_the_dictionary_are_passed_over() -> None:
    stored = xz({"id": lzma.FILTER_DELTA, "dist": 4}, {"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "dict_size": 8 * MIB})
    assert needed(Compression.XZ, stored) == 9 * MIB


def test_an_xz_stream_of_nothing_takes_nothing() -> None:
    assert needed(Compression.XZ, lzma.compress(b"")) == 0


def test_a_dictionary_that_will_be_refused_takes_no_more_than_the_largest() -> None:
    assert needed(Compression.XZ, xz({"id": lzma.FILTER_LZMA2, "dict_size": 256 * MIB})) == MAX_WINDOW


@pytest.mark.parametrize("log", [10, 17, 20, 23, 27])
def test_a_zstd_frame_takes_its_window(log: int) -> None:
    stored = frame(window_log=log)
    assert needed(Compression.ZSTD, stored) == (1 << log) + MIB
    assert zstd.decompress(stored, options={zstd.DecompressionParameter.window_log_max: log}) == TEXT
    if log > 10:
        with pytest.raises(zstd.ZstdError):
            zstd.decompress(stored, options={zstd.DecompressionParameter.window_log_max: log - 1})


@pytest.mark.parametrize("exponent_and_mantissa", range(0, 140, 3))
def test_a_window_between_two_powers_is_told_as_the_decoder_tells_it(exponent_and_mantissa: int) -> None:
    stored = b"\x28\xb5\x2f\xfd\x00" + bytes([exponent_and_mantissa]) + b"\x01\x00\x00"
    exponent, mantissa = divmod(exponent_and_mantissa, 8)
    window = 2 ** (10 + exponent) + 2 ** (10 + exponent) // 8 * mantissa
    assert decoder_memory(Compression.ZSTD, stored) == (window + MIB if window <= MAX_WINDOW else 0)
    if window > MAX_WINDOW:
        with pytest.raises(zstd.ZstdError):
            zstd.decompress(stored)
    else:
        assert zstd.decompress(stored) == b""


@pytest.mark.parametrize("length", [0, 1, 255, 256, 257, 65_791, 65_792, 70_000, 3 * MIB])
def test_a_zstd_frame_that_knows_its_content_takes_no_more_than_that(length: int) -> None:
    assert needed(Compression.ZSTD, frame(bytes(length), known=True, window_log=27)) == length + MIB


def test_a_zstd_frame_that_will_be_refused_takes_nothing() -> None:
    assert needed(Compression.ZSTD, frame(window_log=28)) == 0


@pytest.mark.parametrize("level", range(1, 10))
def test_bzip2_takes_four_bytes_for_each_of_a_block(level: int) -> None:
    assert needed(Compression.BZIP2, bz2.compress(TEXT, level)) == 100_000 * (4 * level + 1)


@pytest.mark.parametrize(
    ("compression", "stored"),
    [
        pytest.param(Compression.GZIP, gzip.compress(TEXT), id="gzip"),
        pytest.param(Compression.ZSTD, b"\x50\x2a\x4d\x18\x00\x00\x00\x00", id="a skippable frame"),
        pytest.param(Compression.ZSTD, b"garbage", id="no zstd"),
        pytest.param(Compression.XZ, b"garbage", id="no xz"),
        pytest.param(
            Compression.XZ, lzma.compress(TEXT)[:12] + b"\x01\xff\x80\x80\x80\x80\x80\x80\x80", id="a block header that ends too early"
        ),
        pytest.param(Compression.BZIP2, b"BZh0more", id="no bzip2"),
    ],
)
def test_what_takes_little_or_will_be_refused_takes_nothing(compression: Compression, stored: bytes) -> None:
    assert needed(compression, stored) == 0
