"""What loads and imports keep in memory: one budget for a process, given back before a client that pauses is waited for."""

from __future__ import annotations

import dataclasses
import gc
import io
import os
import sys
import tarfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import EngineError, Forbidden, InvalidContent, Unavailable
from stowage.services.images.import_ import import_image
from stowage.services.images.load import load_image as stream_load
from stowage.services.intake.archive_members import Intake
from stowage.services.progress import Progress
from stowage.services.store.graph import ReadManifest
from tests.builders import ArchivedImage, docker_archive, load_image, make_layer, make_tar, simple_layout
from tests.engines import memory_budget
from tests.services.images.archives import Held, blobs

MIB = 1 << 20
BLANKS = b"[" + b" " * (3 * MIB) + b"]"
SMALL = {f"member{number}": bytes(60_000) + b"%d" % number for number in range(60)}
IMAGE = docker_archive(ArchivedImage((make_layer("one"),), ("a:1",)))


def narrowed(engine: Engine, size: int) -> Engine:
    return dataclasses.replace(engine, memory=memory_budget(size, seconds=0))


def cut(members: dict[str, bytes]) -> bytes:
    """An archive that ends where the next member would begin."""
    archive = make_tar(members | {"end": b""})
    return archive[: archive.index(b"end\0")]


@contextmanager
def loading(engine: Engine, source: Held) -> Iterator[list[object]]:
    """A load in a thread, for as long as its client holds back the rest; then what it reported or raised."""
    result: list[object] = []

    def run() -> None:
        try:
            result.extend(item for item in stream_load(engine, source) if item != Progress())
        except EngineError as exc:
            result.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    assert source.given.wait(30)
    try:
        yield result
    finally:
        source.go_on.set()
        thread.join(30)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"index.json": BLANKS}, id="index.json"),
        pytest.param({"manifest.json": BLANKS}, id="manifest.json"),
        pytest.param({"index.json": '["\U0001f4e6"]'.encode().ljust(MIB // 2)}, id="wide characters"),
        pytest.param({"index.json": b'["\\ud83d\\udce6"]'.ljust(MIB // 2)}, id="escaped wide characters"),
        pytest.param(SMALL, id="small members"),
    ],
)
def test_what_held_loads_keep_does_not_add_up(engine: Engine, members: dict[str, bytes]) -> None:
    narrow = narrowed(engine, 4 * MIB)
    with loading(narrow, Held(cut(members))) as result:
        assert MIB <= narrow.memory.free <= 2 * MIB
        with pytest.raises(Unavailable, match="^other requests use too much memory"):
            load_image(narrow, make_tar(members))
        assert load_image(narrow, IMAGE) == ["Loaded image: a:1\n"]
    assert [type(item) for item in result] == [InvalidContent]
    assert narrow.memory.free == 4 * MIB


def test_a_load_that_never_fits_is_refused_with_the_setting(engine: Engine) -> None:
    narrow = narrowed(engine, MIB)
    with pytest.raises(Forbidden, match="STOWAGE_REQUEST_MEMORY allows 1048576 for all requests together"):
        load_image(narrow, make_tar({"manifest.json": BLANKS}))
    assert narrow.memory.free == MIB


def test_what_is_kept_of_images_is_reserved(engine: Engine) -> None:
    labels = {"config": {"Labels": {"long": "x" * 300_000}}}
    archive = docker_archive(*(ArchivedImage((make_layer(str(number)),), (f"a:{number}",), labels) for number in range(10)))
    narrow = narrowed(engine, MIB)
    with pytest.raises(Forbidden, match="STOWAGE_REQUEST_MEMORY"):
        load_image(narrow, archive)
    assert (blobs(engine), narrow.memory.free) == (set(), MIB)
    assert len(load_image(narrowed(engine, 3 * MIB), archive)) == 10


def test_an_unusual_oci_layout_file_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidContent, match='^failed to ingest "oci-layout": larger than 65536 bytes$'):
        load_image(engine, make_tar({"oci-layout": b"{}" + b" " * 65_536}))


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(lambda: simple_layout("docker.io/library/a:1").to_tar(), id="loaded"),
        pytest.param(lambda: make_tar({"index.json": BLANKS}), id="refused"),
        pytest.param(lambda: make_tar(SMALL | {"manifest.json": b"[{}]"}), id="refused later"),
    ],
)
def test_nothing_is_kept_while_a_client_holds_back_the_rest_of_its_body(engine: Engine, archive: Callable[[], bytes]) -> None:
    with loading(engine, Held(archive() + bytes(10 * MIB))) as result:
        assert engine.memory.free == memory_budget().free
        assert [item for item in gc.get_objects() if isinstance(item, Intake | ReadManifest)] == []
        assert result == []
    assert len(result) == 1


def test_memory_of_an_operation_is_reserved_beyond_the_first_mib() -> None:
    memory = memory_budget(10 * MIB, seconds=0)
    first, second = Costs(memory), Costs(memory)
    first.keep(MIB)
    assert memory.free == 10 * MIB
    for _ in range(9):
        first.keep(MIB)
    assert memory.free == MIB
    second.keep(2 * MIB)
    with pytest.raises(Unavailable):
        second.keep(1)
    with pytest.raises(Forbidden):
        first.keep(10 * MIB)
    first.close()
    second.close()
    assert memory.free == 10 * MIB


def test_loads_that_hold_a_part_and_wait_for_more_are_refused_in_the_end() -> None:
    memory = memory_budget(10 * MIB, seconds=0.05)
    every = [Costs(memory) for _ in range(2)]
    for costs in every:
        costs.keep(6 * MIB)
    refused: list[EngineError] = []

    def more(costs: Costs) -> None:
        try:
            costs.keep(MIB)
        except Unavailable as exc:
            refused.append(exc)
        costs.close()

    threads = [threading.Thread(target=more, args=(costs,)) for costs in every]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert (1 <= len(refused) <= 2, memory.free) == (True, 10 * MIB)


def named(names: list[str]) -> bytes:
    """An archive of files with these names, which ends before the end of the archive."""
    return b"".join(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT) for name in names)


def test_names_count_as_much_as_they_take(engine: Engine) -> None:
    names = ["\U0001f600" + "n" * 4000 + f"{number}" for number in range(1000)]
    narrow = narrowed(engine, 32 * MIB)
    with loading(narrow, Held(named(names))):
        assert 32 * MIB - narrow.memory.free >= sum(map(sys.getsizeof, names)) - MIB


def test_an_import_keeps_little_of_what_passes(engine: Engine) -> None:
    archive = make_tar({"random": os.urandom(16 * MIB)})
    tracemalloc.start()
    try:
        for _ in import_image(engine, io.BytesIO(archive), message=""):
            pass
        assert tracemalloc.get_traced_memory()[1] < 6 * MIB
    finally:
        tracemalloc.stop()
