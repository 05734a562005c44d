"""What a load keeps of the manifests and configs that it reads."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Damaged, InvalidContent
from stowage.services.gc.leases import Lease, hold
from stowage.services.intake.ingest import store_blob
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.store import documents
from stowage.services.store.documents import ConfigFacts, Documents
from stowage.services.store.graph import read_graph
from stowage.services.store.publish import read_configs, record_graph
from stowage.services.store.reading import read_document
from tests.builders import Json, Layout, digest_of, load_image, make_layer, simple_layout, to_json
from tests.damage import blob_file, flip
from tests.services.images.archives import blobs

MIB = 1 << 20
LAYER = make_layer("one")
CONFIG: Json = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [digest_of(LAYER)]}}
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"


def images(count: int, **members: Any) -> bytes:
    """An archive of images that share a layer, each with its own config with these members."""
    layout = Layout()
    layer = layout.add(LAYER, "application/vnd.oci.image.layer.v1.tar")
    for number in range(count):
        config = layout.add(to_json({**CONFIG, "number": number, **members}), CONFIG_TYPE)
        layout.tag(layout.manifest(config, [layer]), f"docker.io/library/a:{number}")
    return layout.to_tar()


@pytest.fixture
def lease(engine: Engine) -> Iterator[Lease]:
    with hold(engine.metadata, engine.content, "test") as lease:
        yield lease


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"other": "x" * MIB}, id="what no field is"),
        pytest.param({"history": [{"created_by": "x" * MIB}]}, id="history"),
        pytest.param({"config": {"Env": ["x" * MIB]}}, id="what to run"),
    ],
)
def test_of_a_config_only_what_is_needed_is_kept(engine: Engine, monkeypatch: pytest.MonkeyPatch, members: Json) -> None:
    kept: list[int] = []

    def counting(*arguments: Any) -> Any:
        kept.append(tracemalloc.get_traced_memory()[0])
        return read_configs(*arguments)

    monkeypatch.setattr("stowage.services.images.load.read_configs", counting)
    archive = images(8, **members)
    tracemalloc.start()
    try:
        assert len(load_image(engine, archive)) == 8
    finally:
        tracemalloc.stop()
    assert max(kept) < 4 * MIB


def test_what_is_wrong_with_a_config_keeps_nothing_of_it(engine: Engine, lease: Lease) -> None:
    digest = store_blob(engine, lease, [to_json({"other": "x" * MIB, "os": 1})]).digest
    found = Documents().config(engine, digest)
    assert isinstance(found, InvalidContent)
    assert (str(found)[:22], found.__traceback__, found.__context__) == ("json: cannot unmarshal", None, None)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"config": {"Labels": {"long": "x" * 20_000}}}, id="a long label"),
        pytest.param({"config": {"Labels": {str(number): "" for number in range(200)}}}, id="many labels"),
        pytest.param({"architecture": "x" * 4_000}, id="the platform"),
        pytest.param({"os.features": ["x" * 40] * 90}, id="features of the platform"),
    ],
)
def test_what_is_kept_of_all_configs_is_bounded(engine: Engine, monkeypatch: pytest.MonkeyPatch, members: Json) -> None:
    monkeypatch.setattr(documents, "MAX_KEPT_BYTES", 50_000)
    archive = images(10, **members)
    with pytest.raises(InvalidContent, match="^the manifests and labels of the images need more than 50000 bytes of memory$"):
        load_image(engine, archive)
    assert blobs(engine) == set()
    assert len(load_image(engine, images(10))) == 10


@pytest.mark.parametrize("raw", [b'"%b"' % (b"x" * 2000), b'"%b"' % ("\u00e9" * 300).encode(), b"[%b0]" % (b"0," * 20)])
def test_what_is_kept_of_all_manifests_is_bounded(engine: Engine, lease: Lease, monkeypatch: pytest.MonkeyPatch, raw: bytes) -> None:
    monkeypatch.setattr(documents, "MAX_KEPT_BYTES", 10_000)
    digest = store_blob(engine, lease, [raw]).digest
    kept = Documents()
    assert [kept.manifest(engine, digest) for _ in range(4)] == [raw] * 4
    with pytest.raises(InvalidContent, match="need more than 10000 bytes"):
        [kept.manifest(engine, digest) for _ in range(5)]


def test_diff_ids_of_configs_are_forgotten_and_read_again(engine: Engine, lease: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_MAX_KEPT_DIFF_IDS", 4)
    read: list[Digest] = []

    def counting(engine: Engine, digest: Digest) -> bytes:
        read.append(digest)
        return read_document(engine, digest)

    monkeypatch.setattr(documents, "read_document", counting)
    raw = [to_json({**CONFIG, "rootfs": {"diff_ids": [digest_of(LAYER)] * 2}, "number": number}) for number in range(3)]
    configs = [store_blob(engine, lease, [each]).digest for each in raw]
    kept = Documents()
    for digest in [*configs, *configs]:
        facts = kept.config(engine, digest)
        assert isinstance(facts, ConfigFacts)
        assert [str(diff_id) for diff_id in facts.diff_ids] == [digest_of(LAYER)] * 2
    assert read == [*configs, *configs[:2]]


def test_a_config_that_is_damaged_before_it_is_recorded_is_refused(engine: Engine, lease: Lease) -> None:
    layout = simple_layout()
    for blob in layout.blobs.values():
        store_blob(engine, lease, [blob])
    graph = read_graph(engine, lease.digests(), Descriptor.from_json(layout.manifests[0]))
    (config,) = [manifest.config for manifest in graph]
    assert config is not None
    flip(blob_file(engine, config))
    with pytest.raises(Damaged), engine.metadata.write() as tx:
        record_graph(tx, graph, read_configs(engine.content, graph))
