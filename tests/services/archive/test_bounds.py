"""One memory for all decoders of a process: who waits, who is refused, and that all of it comes back."""

from __future__ import annotations

import lzma
import random
import sys
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from stowage.services.archive.bounds import Bounds, Costs
from stowage.services.archive.compression import LARGEST_DECODER, Compression, Decompressor
from stowage.services.archive.layer import LayerDigester
from stowage.services.budget import Budget, Reservation
from stowage.services.errors import EngineError, Forbidden, InvalidContent, Unavailable
from stowage.services.oci.digest import Digest
from tests.builders import compress
from tests.engines import memory_budget

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB = 1 << 20
PLAIN = random.Random(1).randbytes(3 * MIB)
BUSY = "other requests use too much memory: try again when some of them have ended"


def xz(dictionary: int, plain: bytes = PLAIN[:1000]) -> bytes:
    return lzma.compress(plain, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": dictionary}])


def frame(window_log: int) -> bytes:
    """A zstd frame that does not say how long its content is."""
    compressor = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: window_log})
    return compressor.compress(PLAIN[:1000]) + compressor.flush()


def bounds(memory: Budget) -> Bounds:
    return Bounds(200, 1 << 30, memory)


def read(decompressor: Decompressor, stored: bytes) -> bytes:
    return b"".join(decompressor.decompress(stored))


def read_all(decompressor: Decompressor, stored: bytes) -> None:
    read(decompressor, stored)
    decompressor.finish()


def derive(digester: LayerDigester, stored: bytes, size: int) -> None:
    for start in range(0, len(stored), size):
        digester.feed(stored[start : start + size])
    digester.finish(Digest.of(stored))


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[EngineError]]:
    raised: list[EngineError] = []

    def run() -> None:
        try:
            work()
        except EngineError as exc:
            raised.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, raised


class Watched(Budget):
    """Says when somebody asks for memory."""

    def __init__(self, size: int) -> None:
        super().__init__(size, size // 4, seconds=30)
        self.asked = threading.Event()

    def take(self, amount: int, *, ended: Callable[[], bool] = lambda: False) -> bool:
        self.asked.set()
        return super().take(amount, ended=ended)


@pytest.mark.parametrize(
    ("compression", "stored", "held"),
    [
        pytest.param(Compression.GZIP, compress(PLAIN, "gzip"), 0, id="gzip"),
        pytest.param(Compression.BZIP2, compress(PLAIN, "bzip2"), 4 * MIB, id="bzip2"),
        pytest.param(Compression.XZ, xz(8 * MIB), 9 * MIB, id="xz -6"),
        pytest.param(Compression.XZ, xz(64 * MIB), LARGEST_DECODER, id="xz -9"),
        pytest.param(Compression.ZSTD, frame(23), 9 * MIB, id="zstd -19"),
        pytest.param(Compression.ZSTD, frame(27), LARGEST_DECODER, id="zstd --long=27"),
    ],
)
@pytest.mark.parametrize("size", [1, 100, MIB], ids=["byte by byte", "in pieces", "whole"])
def test_a_stream_holds_the_memory_of_its_decoder_until_it_ends(compression: Compression, stored: bytes, held: int, size: int) -> None:
    memory = memory_budget(200 * MIB)
    decompressor = Decompressor(compression, bounds(memory))
    pieces = [stored[start : start + size] for start in range(0, len(stored) - 1, size)]
    plain = b"".join(read(decompressor, piece[: len(stored) - 1 - size * at]) for at, piece in enumerate(pieces))
    assert memory.free == 200 * MIB - held
    plain += read(decompressor, stored[-1:])
    decompressor.finish()
    assert memory.free == 200 * MIB
    assert PLAIN.startswith(plain)
    assert plain


def test_closing_a_stream_gives_its_memory_back() -> None:
    memory = memory_budget(200 * MIB)
    decompressor = Decompressor(Compression.XZ, bounds(memory))
    read(decompressor, xz(96 * MIB)[:-1])
    assert memory.free == 200 * MIB - LARGEST_DECODER
    decompressor.close()
    assert memory.free == 200 * MIB


def test_nothing_is_allocated_before_it_is_reserved() -> None:
    memory = memory_budget(200 * MIB, seconds=0)
    first, second = (Decompressor(Compression.XZ, bounds(memory)) for _ in range(2))
    read(first, xz(64 * MIB)[:-1])
    with pytest.raises(Unavailable, match=f"^{BUSY}$"):
        read(second, xz(64 * MIB))
    first.close()
    assert read(Decompressor(Compression.XZ, bounds(memory)), xz(64 * MIB)) == PLAIN[:1000]


def test_a_stream_that_never_fits_is_refused_at_once() -> None:
    memory = memory_budget(10 * MIB, seconds=3600)
    with pytest.raises(Forbidden, match="^this needs 134217728 bytes of memory at once; STOWAGE_REQUEST_MEMORY allows 10485760 for all"):
        read(Decompressor(Compression.XZ, bounds(memory)), xz(64 * MIB))


def single_segment(content: int) -> bytes:
    """The head of a zstd frame whose window is its content, of this many bytes, and one block of it."""
    return b"\x28\xb5\x2f\xfd\xe0" + content.to_bytes(8, "little") + ((128 << 10) << 3 | 2).to_bytes(3, "little") + b"A"


@pytest.mark.parametrize("beyond", [0, 1, 2, MIB])
def test_a_frame_whose_window_is_not_counted_is_refused(beyond: int) -> None:
    memory = memory_budget(200 * MIB)
    decompressor = Decompressor(Compression.ZSTD, bounds(memory))
    if beyond:
        with pytest.raises(InvalidContent, match="^invalid zstd stream: "):
            read(decompressor, single_segment(128 * MIB + beyond))
    else:
        assert len(read(decompressor, single_segment(128 * MIB))) == 128 << 10
        assert memory.free == 200 * MIB - LARGEST_DECODER


@pytest.mark.parametrize("dictionary", [MIB, 8 * MIB, 9 * MIB, 64 * MIB, 96 * MIB])
def test_an_xz_decoder_takes_no_more_than_is_counted(dictionary: int) -> None:
    assert read(Decompressor(Compression.XZ, bounds(memory_budget())), xz(dictionary)) == PLAIN[:1000]


def test_a_larger_dictionary_than_any_decoder_takes_is_refused() -> None:
    with pytest.raises(InvalidContent, match="Memory usage limit exceeded"):
        read(Decompressor(Compression.XZ, bounds(memory_budget())), xz(256 * MIB))


@pytest.mark.parametrize(
    ("closed", "errors", "free"),
    [
        pytest.param("first", 0, 200 * MIB, id="it gets the memory of the first when that ends"),
        pytest.param("second", 1, 200 * MIB - LARGEST_DECODER, id="closing it ends the wait"),
    ],
)
def test_a_stream_waits_for_another(closed: str, errors: int, free: int) -> None:
    memory = Watched(200 * MIB)
    streams = {name: Decompressor(Compression.XZ, bounds(memory)) for name in ("first", "second")}
    read(streams["first"], xz(64 * MIB)[:-1])
    memory.asked.clear()
    waiting, raised = in_thread(lambda: read(streams["second"], xz(64 * MIB)))
    assert memory.asked.wait(10)
    assert waiting.is_alive()
    streams[closed].close()
    waiting.join(10)
    assert (waiting.is_alive(), len(raised), memory.free) == (False, errors, free)


@pytest.mark.parametrize(
    ("compression", "stored"),
    [
        pytest.param(Compression.XZ, xz(64 * MIB, PLAIN)[:-100], id="cut"),
        pytest.param(Compression.XZ, xz(64 * MIB, PLAIN)[:2000] + bytes(2000), id="damaged"),
        pytest.param(Compression.XZ, xz(64 * MIB) + b"tail", id="tail"),
        pytest.param(Compression.XZ, xz(64 * MIB, bytes(3 * MIB)), id="bomb"),
        pytest.param(Compression.ZSTD, compress(PLAIN, "zstd")[:-100], id="cut zstd"),
        pytest.param(Compression.BZIP2, compress(PLAIN, "bzip2")[:-100], id="cut bzip2"),
    ],
)
def test_whatever_becomes_of_a_stream_its_memory_comes_back(compression: Compression, stored: bytes) -> None:
    memory = memory_budget(200 * MIB)
    decompressor = Decompressor(compression, Bounds(2, MIB, memory))
    with pytest.raises(InvalidContent), closing(decompressor):
        read_all(decompressor, stored)
    assert memory.free == 200 * MIB


@pytest.mark.parametrize("size", [1000, MIB], ids=["in place", "in threads"])
def test_a_layer_whose_window_is_not_to_be_had_is_no_damaged_layer(size: int) -> None:
    stored = xz(64 * MIB, PLAIN)
    with pytest.raises(Forbidden), closing(LayerDigester(bounds(memory_budget(MIB, seconds=0)))) as digester:
        derive(digester, stored, size)


def test_closing_a_layer_that_waits_for_memory_ends_its_threads() -> None:
    memory = Watched(130 * MIB)
    held = Reservation(memory)
    held.hold(60 * MIB)
    memory.asked.clear()
    threads = threading.active_count()
    digester = LayerDigester(bounds(memory))
    digester.feed(xz(64 * MIB, PLAIN))
    assert memory.asked.wait(10)
    digester.close()
    assert threading.active_count() == threads


class Overtaken(Budget):
    """Whoever takes or gives back is overtaken by another thread before it can note that, unless that has to wait."""

    def __init__(self) -> None:
        super().__init__(MIB)
        self.others: list[Callable[[], None]] = []
        self.threads: list[threading.Thread] = []

    def take(self, amount: int, *, ended: Callable[[], bool] = lambda: False) -> bool:
        taken = super().take(amount, ended=ended)
        self._run_others()
        return taken

    def give_back(self, amount: int) -> None:
        self._run_others()
        super().give_back(amount)

    def _run_others(self) -> None:
        others, self.others = self.others, []
        for other in others:
            thread = threading.Thread(target=other)
            self.threads.append(thread)
            thread.start()
            thread.join(0.2)


def test_memory_that_is_had_while_its_stream_is_closed_comes_back() -> None:
    memory = Overtaken()
    stream = Reservation(memory)
    memory.others.append(stream.close)
    stream.hold(1000)
    for thread in memory.threads:
        thread.join(10)
    assert (memory.taken, stream.size) == (0, 0)


def test_remote_clients_leave_a_quarter_of_the_memory() -> None:
    memory = memory_budget(400 * MIB, seconds=0)
    remote, other, local = Reservation(memory.unreserved), Reservation(memory.unreserved), Reservation(memory)
    remote.hold(300 * MIB)
    with pytest.raises(Unavailable, match=f"^{BUSY}$"):
        other.hold(1)
    local.hold(100 * MIB)
    assert memory.free == memory.unreserved.free == 0
    remote.close()
    local.hold(50 * MIB)
    assert (memory.free, memory.unreserved.free) == (250 * MIB, 250 * MIB)
    local.close()
    assert (memory.free, memory.unreserved.free) == (400 * MIB, 300 * MIB)


def test_what_remote_clients_may_never_have_is_refused_at_once() -> None:
    memory = memory_budget(100, seconds=3600)
    with pytest.raises(Forbidden, match="^this needs 76 bytes .*; STOWAGE_REQUEST_MEMORY allows 75 for all requests over TCP"):
        Reservation(memory.unreserved).hold(76)
    Reservation(memory).hold(76)


def test_what_a_remote_client_gives_back_wakes_one_that_waits_and_is_local() -> None:
    memory = Watched(4 * MIB)
    remote = Reservation(memory.unreserved)
    remote.hold(3 * MIB)
    local = Reservation(memory)
    thread, raised = in_thread(lambda: local.hold(2 * MIB))
    assert memory.asked.wait(10)
    remote.close()
    thread.join(10)
    assert (raised, local.size) == ([], 2 * MIB)


def test_an_operation_gives_back_what_it_no_longer_keeps_before_it_ends() -> None:
    memory = memory_budget(100 * MIB)
    with closing(Costs(memory)) as costs:
        costs.keep(50 * MIB)
        costs.shrink(30 * MIB)
        assert memory.free == 71 * MIB
        costs.keep(5 * MIB)
        assert memory.free == 66 * MIB
    assert memory.free == 100 * MIB
