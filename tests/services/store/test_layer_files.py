"""The first look into a layer reads it, verified; the next finds its list kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from stowage.services.archive.file_list import FileList
from stowage.services.budget import Reservation
from stowage.services.engine import Engine
from stowage.services.errors import BlobNotFound, Damaged, Forbidden, OutOfSpace, RegistryFailure, Unavailable
from stowage.services.gc.leases import hold
from stowage.services.intake.ingest import store_blob
from stowage.services.metadata.store import MetadataStore
from stowage.services.oci.digest import Digest
from stowage.services.registry.operations import Operation
from stowage.services.store import layer_files
from stowage.services.store.layer_files import list_layer_files
from stowage.services.store.look import Look
from stowage.services.store.reading import open_verified
from stowage.services.transfer.retry import in_background
from tests.builders import compress, make_tar
from tests.damage import blob_file, damages, flip, lose
from tests.engines import ON_EVERY_STORAGE, memory_budget
from tests.services.costs import Costs
from tests.waiting import poll

FILES = {f"usr/lib/{number}": f"{number}".encode() * 5000 for number in range(50)}


def free(_: int) -> None:
    """Reserve nothing."""


@pytest.fixture
def layer(engine: Engine) -> Iterator[Digest]:
    with hold(engine.metadata, engine.content, "test") as lease:
        yield store_blob(engine, lease, [compress(make_tar(FILES), "gzip")]).digest


def limited(engine: Engine, **limits: int) -> Engine:
    return replace(engine, limits=replace(engine.limits, **limits))


def kept_bytes(engine: Engine) -> int:
    with engine.metadata.read() as tx:
        return tx.layer_files.bytes()


@ON_EVERY_STORAGE
@pytest.mark.parametrize("compression", ["none", "gzip", "bzip2", "xz", "zstd"])
def test_any_compression_is_read(engine: Engine, compression: str) -> None:
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_blob(engine, lease, [compress(make_tar(FILES), compression)]).digest
        found = list_layer_files(engine, digest, Look(120), hold=free)
    assert dict(zip(found.paths, found.sizes, strict=True)) == {name: len(content) for name, content in FILES.items()}
    assert found.problem == ""


def test_the_second_look_does_not_open_the_blob(engine: Engine, layer: Digest, costs: Costs) -> None:
    first = list_layer_files(engine, layer, Look(120), hold=free)
    opened = costs.opened
    second = list_layer_files(engine, layer, Look(120), hold=free)
    assert costs.opened == opened == 1
    assert (second.paths, second.sizes, second.checksums) == (first.paths, first.sizes, first.checksums)


def test_threads_that_look_at_once_read_the_blob_once(engine: Engine, layer: Digest, costs: Costs) -> None:
    together = threading.Barrier(5)

    def look() -> None:
        together.wait()
        list_layer_files(engine, layer, Look(120), hold=free)

    threads = [threading.Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert costs.opened == 1


@pytest.mark.parametrize("spoil", [flip, lose])
def test_nothing_of_a_damaged_layer_is_kept(engine: Engine, layer: Digest, spoil: object) -> None:
    spoil(blob_file(engine, layer))  # type: ignore[operator]
    with pytest.raises((Damaged, BlobNotFound)):
        list_layer_files(engine, layer, Look(120), hold=free)
    assert kept_bytes(engine) == 0
    assert bool(damages(engine)) == (spoil is flip)


def test_what_is_not_a_tar_is_remembered_too(engine: Engine, costs: Costs) -> None:
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_blob(engine, lease, [b"chart" * 1000]).digest
        opened = costs.opened
        for _ in range(2):
            assert list_layer_files(engine, digest, Look(120), hold=free).problem == "it is not a tar archive"
    assert costs.opened == opened + 1


@ON_EVERY_STORAGE
def test_an_absent_blob_is_not_found(engine: Engine) -> None:
    with pytest.raises(BlobNotFound):
        list_layer_files(engine, Digest.of(b"absent"), Look(120), hold=free)


@ON_EVERY_STORAGE
def test_a_list_that_was_cut_is_read_again_at_a_higher_limit(engine: Engine, layer: Digest) -> None:
    assert len(list_layer_files(limited(engine, listed_entries=10), layer, Look(120), hold=free)) == 10
    assert len(list_layer_files(limited(engine, listed_entries=5), layer, Look(120), hold=free)) == 10
    found = list_layer_files(engine, layer, Look(120), hold=free)
    assert (len(found), found.is_cut) == (len(FILES), False)


def test_reading_ends_when_it_takes_too_long(engine: Engine, layer: Digest) -> None:
    with pytest.raises(Forbidden, match=r"takes more than -1 seconds; STOWAGE_LISTING_SECONDS allows more$"):
        list_layer_files(engine, layer, Look(-1), hold=free)
    assert kept_bytes(engine) == 0


class Stopped:
    """Readers of a layer that stop at its first bytes until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.times, self.reading, self.may_go_on = 0, threading.Event(), threading.Event()

        def stop(*arguments: object) -> object:
            self.times += 1
            self.reading.set()
            self.may_go_on.wait(20)
            return open_verified(*arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(layer_files, "open_verified", stop)


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> Stopped:
    return Stopped(monkeypatch)


def in_thread(call: Callable[[], object]) -> Future[object]:
    return in_background(call, Operation())


class Waiting(Look):
    """A look that knows whether it has waited for another one."""

    has_waited = False

    def check(self, task: str) -> None:
        self.has_waited |= task.startswith("waiting")
        super().check(task)


def test_who_waited_for_a_damaged_layer_does_not_read_it_again(engine: Engine, layer: Digest, stopped: Stopped) -> None:
    flip(blob_file(engine, layer))
    looks = [Waiting(120) for _ in range(3)]
    results = [in_thread(partial(list_layer_files, engine, layer, look, hold=free)) for look in looks]
    poll(lambda: sum(look.has_waited for look in looks) == 2)
    stopped.may_go_on.set()
    for result in results:
        with pytest.raises(Damaged, match="holds other bytes"):
            result.result(20)
    assert stopped.times == 1


def test_a_layer_that_takes_too_long_is_not_read_again_with_as_little_time(
    engine: Engine, layer: Digest, costs: Costs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_slowly(*arguments: object) -> object:
        time.sleep(0.2)
        return open_verified(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(layer_files, "open_verified", open_slowly)
    for _ in range(2):
        with pytest.raises(Forbidden, match=r"^reading the files of layer sha256:\w+ takes more than 0.1 seconds"):
            list_layer_files(engine, layer, Look(0.1), hold=free)
        assert costs.opened == 1
    assert len(list_layer_files(engine, layer, Look(120), hold=free)) == len(FILES)


def test_a_look_whose_client_leaves_ends_and_the_next_one_reads(engine: Engine, layer: Digest, stopped: Stopped) -> None:
    leaving, look = Operation(), Waiting(120)
    gone = in_background(lambda: list_layer_files(engine, layer, Look(120), hold=free), leaving)
    stopped.reading.wait(20)
    next_one = in_thread(lambda: list_layer_files(engine, layer, look, hold=free))
    poll(lambda: look.has_waited)
    leaving.cancel()
    stopped.may_go_on.set()
    with pytest.raises(RegistryFailure, match="context canceled"):
        gone.result(20)
    assert len(next_one.result(20)) == len(FILES)  # type: ignore[arg-type]


def test_who_waits_for_another_look_may_leave(engine: Engine, layer: Digest, stopped: Stopped) -> None:
    first = in_thread(lambda: list_layer_files(engine, layer, Look(120), hold=free))
    stopped.reading.wait(20)
    leaving, looks = Operation(), list[Waiting]()

    def look() -> FileList:
        looks.append(Waiting(120))
        return list_layer_files(engine, layer, looks[0], hold=free)

    gone = in_background(look, leaving)
    poll(lambda: looks and looks[0].has_waited)
    leaving.cancel()
    with pytest.raises(RegistryFailure):
        gone.result(20)
    stopped.may_go_on.set()
    assert len(first.result(20)) == len(FILES)  # type: ignore[arg-type]


def test_reading_takes_no_more_memory_than_is_free(engine: Engine) -> None:
    with hold(engine.metadata, engine.content, "test") as lease:
        digest = store_blob(engine, lease, [make_tar({f"{number:020}": b"" for number in range(30_000)})]).digest
        for _ in ("read", "kept"):
            small = Reservation(memory_budget(4 << 20, seconds=0.01))
            with closing(small), pytest.raises((Forbidden, Unavailable)):
                list_layer_files(engine, digest, Look(120), hold=small.hold)
            found = list_layer_files(engine, digest, Look(120), hold=free)
    assert len(found) == 30_000


def test_a_kept_list_is_not_inflated_without_memory(engine: Engine, layer: Digest) -> None:
    list_layer_files(engine, layer, Look(120), hold=free)
    with pytest.raises((Forbidden, Unavailable)):
        list_layer_files(replace(engine, memory=memory_budget(1 << 10, seconds=0.01)), layer, Look(120), hold=free)


def test_a_list_holds_what_it_weighs(engine: Engine, layer: Digest) -> None:
    for _ in ("read", "kept"):
        held: list[int] = []
        assert list_layer_files(engine, layer, Look(120), hold=held.append).weight == sum(held)


def test_a_list_that_cannot_be_kept_is_shown_all_the_same(engine: Engine, layer: Digest, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: MetadataStore) -> None:
        raise OutOfSpace("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(MetadataStore, "write", full)
        assert len(list_layer_files(engine, layer, Look(120), hold=free)) == len(FILES)
    assert kept_bytes(engine) == 0


def test_no_list_is_kept_without_room_for_any(engine: Engine, layer: Digest) -> None:
    assert len(list_layer_files(limited(engine, listing_bytes=0), layer, Look(120), hold=free)) == len(FILES)
    assert kept_bytes(engine) == 0


def test_looking_does_not_change_the_blob(engine: Engine, layer: Digest) -> None:
    path: Path = blob_file(engine, layer)
    before = path.read_bytes(), path.stat().st_mtime_ns
    list_layer_files(engine, layer, Look(120), hold=free)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before
