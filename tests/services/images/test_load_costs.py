"""Small archives that would cost much: counted, refused early, or fast; and left when nobody waits any more."""

from __future__ import annotations

import dataclasses
import gzip
import io
import itertools
import json
import lzma
import tarfile
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, InvalidContent, Unavailable
from stowage.services.images.load import load_image as stream_load
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.descriptor import Descriptor
from stowage.services.progress import Progress
from stowage.services.store.graph import read_graph
from tests.builders import (
    ArchivedImage,
    Layout,
    compress,
    digest_of,
    docker_archive,
    load_image,
    make_layer,
    make_tar,
    simple_layout,
    to_json,
)
from tests.engines import REQUEST_MEMORY, memory_budget
from tests.services.costs import Costs
from tests.services.images.archives import Held, blobs, names

MIB = 1 << 20
LAYER = make_layer("one")
CONFIG = to_json({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(LAYER)]}})


def described(manifest: list[dict[str, Any]], **members: bytes) -> bytes:
    """A docker-archive of one small config and one small layer, described so."""
    return make_tar({"c": CONFIG, "l": LAYER, **members, "manifest.json": json.dumps(manifest).encode()})


def entry(*tags: str, layers: int = 1) -> dict[str, Any]:
    return {"Config": "c", "RepoTags": list(tags) or None, "Layers": ["l"] * layers}


def test_thousands_of_tiny_blobs_are_stored_in_batches(engine: Engine, costs: Costs) -> None:
    layout = Layout()
    layout.tag(layout.image([LAYER]), "docker.io/library/a:1")
    for number in range(640):
        layout.add(b"%d" % number, "application/octet-stream")
    assert load_image(engine, layout.to_tar()) == ["Loaded image: a:1\n"]
    assert costs.transactions <= 40  # two for each 64, and as many for the sweep of what no image needs
    assert costs.syncs <= 643 + 40


def test_small_images_are_stored_in_batches(engine: Engine, costs: Costs) -> None:
    images = [ArchivedImage((make_layer(str(number)),), (f"many:{number}",)) for number in range(130)]
    assert len(load_image(engine, docker_archive(*images))) == 130
    assert costs.transactions <= 30
    assert costs.syncs <= 3 * 130 + 20


def test_an_image_that_stands_there_thousands_of_times_is_made_once(engine: Engine, costs: Costs) -> None:
    lines = load_image(engine, described([entry()] * 5000))
    (target,) = names(engine).values()
    assert lines == [f"Loaded image ID: {target}\n"] * 5000
    assert (costs.transactions <= 12, costs.opened <= 8) == (True, True)


def test_of_entries_that_give_one_name_the_last_counts(engine: Engine) -> None:
    other = make_layer("other")
    config = to_json({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(other)]}})
    second = {"Config": "d", "RepoTags": ["a:1"], "Layers": ["m"]}
    load_image(engine, described([entry("a:1"), second, entry("a:1")], d=config, m=other))
    (first,) = {line for line in load_image(engine, described([entry()])) if line.startswith("Loaded image ID")}
    assert first == f"Loaded image ID: {names(engine)['docker.io/library/a:1']}\n"
    assert len(names(engine)) == 2


def test_a_layer_that_stands_there_thousands_of_times_is_counted_first(engine: Engine, costs: Costs) -> None:
    with pytest.raises(InvalidContent, match="^mismatched image rootfs and manifest layers$"):
        load_image(engine, described([entry(layers=100_000)]))
    assert costs.opened <= 2


def test_layers_are_not_compared_with_each_other(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    layout, compared = Layout(), itertools.count()
    layout.tag(layout.image([make_layer(f"layer {number}") for number in range(200)]), "docker.io/library/a:1")
    equal = Descriptor.__eq__
    monkeypatch.setattr(Descriptor, "__eq__", lambda one, other: next(compared) >= 0 and equal(one, other))
    load_image(engine, layout.to_tar())
    assert next(compared) < 2000


def test_a_document_of_many_types_is_read_once(engine: Engine, costs: Costs) -> None:
    layout = Layout()
    document = layout.add(to_json({"other": "x" * 100_000}), "")
    for number in range(40):
        layout.tag({**document, "mediaType": f"application/x{number}"}, f"docker.io/library/other:{number}")
    lines = load_image(engine, layout.to_tar())
    assert len([line for line in lines if line.startswith("Loaded image: ")]) == 40
    assert costs.opened <= 4


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param([entry(*(f"a:{number}" for number in range(100_001)))], id="names of one image"),
        pytest.param([entry("a:1", "a:2", "a:3", "a:4", "a:5", "a:6")] * 16_667, id="names of many"),
        pytest.param([{"Config": "c"}] * 20_001, id="images"),
    ],
)
def test_too_many_names_and_images_are_refused_before_any_is_made(engine: Engine, costs: Costs, manifest: list[dict[str, Any]]) -> None:
    with pytest.raises(InvalidContent, match="^the archive has more than 20000 images or 100000 names$"):
        load_image(engine, described(manifest))
    assert (blobs(engine), costs.opened, costs.transactions <= 4) == (set(), 0, True)


def test_too_many_entries_of_an_index_are_refused(engine: Engine) -> None:
    members = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b'{"manifests":[' + b"0," * 100_000 + b"0]}"}
    with pytest.raises(InvalidContent, match="^index.json lists more than 100000 images$"):
        load_image(engine, make_tar(members))


def test_manifests_that_share_a_large_config_do_not_fill_disk_and_memory(engine: Engine) -> None:
    config = to_json({"rootfs": {"diff_ids": [digest_of(LAYER)]}, "config": {"Labels": {"long": "x" * 3 * MIB}}})
    layers = {f"l{level}": gzip.compress(LAYER, mtime=level) for level in range(24)}
    manifest = [{"Config": "large", "Layers": [layer]} for layer in layers]
    with pytest.raises(InvalidContent, match="^too many manifests share configs: their copies take more than 67108864 bytes$"):
        load_image(engine, described(manifest, large=config, **layers))
    assert blobs(engine) == set()
    assert len(load_image(engine, described(manifest[:20], large=config, **layers))) == 20


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The configs that are parsed."""
    configs: list[bytes] = []
    parse = ImageConfig.parse

    def counting(raw: bytes) -> ImageConfig:
        configs.append(raw)
        return parse(raw)

    monkeypatch.setattr(ImageConfig, "parse", counting)
    return configs


def config_of_values(number: int) -> dict[str, Any]:
    return {"created": None, "config": {"Labels": {"number": str(number)}}, "history": [{}] * 65_000}


def layout_of_values(count: int) -> bytes:
    layout = Layout()
    for number in range(count):
        layout.tag(layout.image([LAYER], **config_of_values(number)), f"docker.io/library/a:{number}")
    return layout.to_tar()


@pytest.mark.parametrize("kind", ["docker-archive", "layout"])
def test_configs_of_nothing_but_tiny_values_do_not_add_up(engine: Engine, parsed: list[bytes], kind: str) -> None:
    archive = (
        layout_of_values(40)
        if kind == "layout"
        else docker_archive(*(ArchivedImage((LAYER,), (f"a:{number}",), config_of_values(number)) for number in range(40)))
    )
    with pytest.raises(InvalidContent, match="^the documents of the archive have too many values for the size of what was sent"):
        load_image(engine, gzip.compress(archive))
    assert len(parsed) <= 16  # each has 65,000
    assert blobs(engine) == set()


@pytest.mark.parametrize("compression", ["gzip", "xz"])
def test_images_that_are_nearly_equal_are_no_bomb(engine: Engine, compression: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.archive.bounds._SANE_VALUES", 0)
    shared = tuple(make_layer(f"shared{number}") for number in range(20))
    steps = [{"created": "2026-01-02T03:04:05Z", "created_by": f"RUN step {step}"} for step in range(40)]
    images = [
        ArchivedImage((*shared, make_layer(str(number))), (f"many:{number}",), {"history": [*steps, {"created_by": f"{number}"}]})
        for number in range(60)
    ]
    assert len(load_image(engine, compress(docker_archive(*images), compression))) == 60


def test_a_config_is_parsed_once_and_there_is_a_tick_after_each(engine: Engine, parsed: list[bytes]) -> None:
    stream = stream_load(engine, io.BytesIO(docker_images(20)))
    counts = [len(parsed) for _ in stream]
    assert len(parsed) == 20
    assert {after - before for before, after in itertools.pairwise(counts)} == {0, 1}


def docker_images(count: int) -> bytes:
    return docker_archive(*(ArchivedImage((make_layer(str(number)),), (f"many:{number}",)) for number in range(count)))


def test_a_load_that_is_closed_reads_no_further_image(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []

    def counting(*arguments: Any, **options: Any) -> Any:
        read.append(arguments)
        return read_graph(*arguments, **options)

    monkeypatch.setattr("stowage.services.images.load.read_graph", counting)
    stream = stream_load(engine, io.BytesIO(docker_images(20)))
    while len(read) < 3:
        assert next(stream) == Progress()
    stream.close()
    assert (len(read), blobs(engine), names(engine)) == (3, set(), {})


def test_a_load_that_is_closed_gives_no_further_name(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.store.batches.BATCH", 2)
    stream = stream_load(engine, io.BytesIO(docker_images(6)))
    while len(names(engine)) < 2:
        assert next(stream) == Progress()
    stream.close()
    assert names(engine).keys() == {"docker.io/library/many:0", "docker.io/library/many:1"}
    assert len(blobs(engine)) == 6


def test_there_is_a_tick_for_each_member(engine: Engine) -> None:
    archive = make_tar({str(number): b"" for number in range(50)})
    stream = stream_load(engine, io.BytesIO(archive))
    assert [next(stream) for _ in range(50)] == [Progress()] * 50
    with pytest.raises(InvalidContent):
        next(stream)


def load_what_breaks_off(engine: Engine, source: Held) -> None:
    with pytest.raises(InvalidContent):
        list(stream_load(engine, source))


@pytest.fixture
def held(engine: Engine) -> Iterator[tuple[Engine, Held]]:
    """An engine with memory for one `xz -9`, and the source of a load that has it in hand."""
    small = dataclasses.replace(engine, memory=memory_budget(140 * MIB, seconds=0))
    archive = lzma.compress(docker_images(1), preset=9)
    source = Held(archive[: len(archive) // 2])
    loading = threading.Thread(target=load_what_breaks_off, args=(small, source))
    loading.start()
    assert source.given.wait(10)
    yield small, source
    source.go_on.set()
    loading.join(10)
    assert small.memory.free == 140 * MIB


def test_windows_of_loads_that_are_held_open_do_not_add_up(held: tuple[Engine, Held]) -> None:
    small, _ = held
    with pytest.raises(Unavailable, match="^other requests use too much memory"):
        load_image(small, lzma.compress(docker_images(1), preset=9))
    assert load_image(small, gzip.compress(docker_images(1))) == ["Loaded image: many:0\n"]
    assert load_image(small, lzma.compress(docker_images(1), preset=1)) == ["Loaded image: many:0\n"]


def test_a_layer_takes_its_window_beside_that_of_the_archive(engine: Engine) -> None:
    layout = simple_layout("docker.io/library/a:1")
    layout.add(lzma.compress(LAYER, preset=9), "application/octet-stream")
    archive = lzma.compress(layout.to_tar(), preset=9)
    narrow = dataclasses.replace(engine, memory=memory_budget(200 * MIB, seconds=0))
    with pytest.raises(Unavailable):
        load_image(narrow, archive)
    assert (narrow.memory.free, blobs(engine)) == (200 * MIB, set())
    assert load_image(dataclasses.replace(engine, memory=memory_budget(260 * MIB)), archive) == ["Loaded image: a:1\n"]


def test_a_stream_that_the_setting_never_allows_is_refused_with_its_name(engine: Engine) -> None:
    narrow = dataclasses.replace(engine, memory=memory_budget(MIB))
    with pytest.raises(Forbidden, match="STOWAGE_REQUEST_MEMORY allows 1048576"):
        load_image(narrow, lzma.compress(docker_images(1)))


def images_of_one_config(count: int, labels: int) -> bytes:
    layout = Layout()
    image = layout.image([LAYER], config={"Labels": {f"{number:x}": "" for number in range(labels)}})
    for number in range(count):
        manifest = json.loads(layout.blobs[image["digest"]]) | {"annotations": {"number": str(number)}}
        layout.tag(layout.add(to_json(manifest), image["mediaType"]), f"docker.io/library/many:{number}")
    return layout.to_tar()


def test_images_that_share_many_labels_are_named_a_few_at_a_time(engine: Engine) -> None:
    named = [len(names(engine)) for _ in stream_load(engine, io.BytesIO(images_of_one_config(40, labels=5000)))]
    assert named[-1] == 40
    assert max(after - before for before, after in itertools.pairwise(named)) <= 4


def test_images_that_have_too_many_labels_together_are_refused(engine: Engine) -> None:
    with pytest.raises(InvalidContent, match="^the images have more than 200000 labels$"):
        load_image(engine, images_of_one_config(41, labels=5000))
    assert (names(engine), blobs(engine)) == ({}, set())


def test_there_is_memory_for_several_of_the_largest_usual_windows() -> None:
    assert REQUEST_MEMORY >= 7 * 65 * MIB


def test_a_large_member_is_taken_in_steps(engine: Engine) -> None:
    archive = docker_archive(ArchivedImage((make_tar({"zeros": bytes(20 * MIB)}),), ("large:1",)))
    steps = stream_load(engine, io.BytesIO(archive))
    assert [next(steps) for _ in range(15)] == [Progress()] * 15
    steps.close()
    assert blobs(engine) == set()


def test_a_large_member_that_nobody_needs_is_skipped_in_steps(engine: Engine) -> None:
    unknown = tarfile.TarInfo("unknown")
    unknown.size, unknown.type = 20 * MIB, b"Z"
    steps = stream_load(engine, io.BytesIO(unknown.tobuf() + bytes(unknown.size)))
    assert [next(steps) for _ in range(15)] == [Progress()] * 15
    steps.close()
