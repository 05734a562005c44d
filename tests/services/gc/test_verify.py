"""The scrub finds every kind of damage, and none where there is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from stowage.services.content.filesystem import FilesystemStore
from stowage.services.engine import Engine
from stowage.services.gc.verify import Finding, FindingKind, verify_store
from stowage.services.images.layers import read_layers
from stowage.services.oci.digest import Digest
from tests.builders import Layout, load_image, make_layer, partial_layout, put_image, simple_layout
from tests.damage import blob_file, flip, lose, shorten
from tests.engines import ON_EVERY_STORAGE


def findings(engine: Engine, *, deep: bool = False) -> list[Finding]:
    return list(verify_store(engine.metadata, engine.content, deep=deep))


def damage(engine: Engine, *, deep: bool = False) -> list[str]:
    """The sentences of everything found, all of which is damage and the images that it affects."""
    found = findings(engine, deep=deep)
    assert {finding.kind for finding in found} <= {FindingKind.DAMAGE, FindingKind.AFFECTED}
    return [finding.sentence for finding in found if finding.kind is FindingKind.DAMAGE]


def execute(tmp_path: Path, statement: str, *parameters: object) -> None:
    """Change rows behind the store's back, as no transaction of it would."""
    connection = sqlite3.connect(tmp_path / "root/stowage.db")
    connection.execute(statement, tuple(map(str, parameters)))
    connection.commit()
    connection.close()


@pytest.fixture
def simple(engine: Engine) -> dict[str, Digest]:
    """A stored image: the digests of its manifest, config and layer."""
    target = put_image(engine, "simple", simple_layout())
    with engine.metadata.read() as tx:
        facts = tx.graph.manifest(target)
    assert facts is not None
    config, layer = (edge.child.digest for edge in facts.edges)
    return {"manifest": target, "config": config, "layer": layer}


@ON_EVERY_STORAGE
def test_an_empty_store_is_whole(engine: Engine) -> None:
    assert findings(engine) == []


@ON_EVERY_STORAGE
def test_awkward_images_are_whole(engine: Engine) -> None:
    attested, chart = Layout(), Layout()
    attested.tag(attested.multi_platform())
    chart.tag(chart.chart())
    for name, layout in {"simple": simple_layout(), "partial": partial_layout(), "attested": attested, "chart": chart}.items():
        put_image(engine, name, layout)
    assert findings(engine, deep=True) == []


@ON_EVERY_STORAGE
def test_the_bytes_that_were_hashed_are_reported(engine: Engine) -> None:
    layout = simple_layout()
    put_image(engine, "simple", layout)
    total, steps = sum(map(len, layout.blobs.values())), list[tuple[int, int]]()
    assert list(verify_store(engine.metadata, engine.content, advance=lambda done, of: steps.append((done, of)))) == []
    assert steps == sorted(steps)
    assert steps[-1] == (total, total)


def test_a_target_that_is_no_manifest_is_not_read_as_one(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be as large as a layer."""
    layout = Layout()
    layout.tag(layout.add(b"x" * 100_000, "application/octet-stream"), "docker.io/library/other:1")
    load_image(engine, layout.to_tar())

    def read(_store: FilesystemStore, digest: Digest) -> bytes:
        pytest.fail(f"{digest} was read as a whole")

    monkeypatch.setattr(FilesystemStore, "read", read)
    assert findings(engine) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(lose, "has no file", id="lost"),
        pytest.param(shorten, "bytes instead of", id="shortened"),
        pytest.param(flip, "holds other bytes: their digest is", id="changed"),
    ],
)
@pytest.mark.parametrize("part", ["config", "layer"])
def test_a_damaged_file(engine: Engine, simple: dict[str, Digest], part: str, spoil: Callable[[Path], None], words: str) -> None:
    spoil(blob_file(engine, simple[part]))
    damaged, affected = findings(engine)
    assert damaged.kind is FindingKind.DAMAGE
    assert damaged.sentence.startswith(f"blob {simple[part]}")
    assert words in damaged.sentence
    assert affected == Finding(FindingKind.AFFECTED, "image simple:latest: load or pull it again, or delete it")


@pytest.mark.parametrize(
    ("statement", "part", "words"),
    [
        pytest.param("DELETE FROM edge WHERE child = ?", "layer", "edges that differ from its document", id="edge"),
        pytest.param(
            "UPDATE config SET raw = x'7b7d' WHERE manifest = ?", "manifest", "config that differs from its document", id="config"
        ),
        pytest.param("UPDATE manifest SET kind = 'index' WHERE digest = ?", "manifest", "cannot be read", id="kind"),
    ],
)
def test_rows_that_contradict_the_document(
    engine: Engine, simple: dict[str, Digest], tmp_path: Path, statement: str, part: str, words: str
) -> None:
    execute(tmp_path, statement, simple[part])
    sentence = damage(engine)[-1]
    assert sentence.startswith(f"manifest {simple['manifest']}")
    assert words in sentence


def test_a_recorded_size_that_is_not_that_of_the_content(engine: Engine, simple: dict[str, Digest], tmp_path: Path) -> None:
    with engine.metadata.read() as tx:
        size = tx.graph.content_sizes([simple["manifest"]])[simple["manifest"]]
    execute(tmp_path, "UPDATE target SET size = size - 1 WHERE digest = ?", simple["manifest"])
    assert damage(engine) == [f"image {simple['manifest']} has a recorded content of {size - 1} bytes instead of {size}"]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE layer SET diff_id = digest WHERE digest = ?", id="diff_id"),
        pytest.param("UPDATE layer SET size = size - 1 WHERE digest = ?", id="too small"),
        pytest.param("UPDATE layer SET size = size + 1 WHERE digest = ?", id="too large"),
    ],
)
def test_facts_of_another_layer_are_found_when_it_is_inflated(
    engine: Engine, simple: dict[str, Digest], tmp_path: Path, statement: str
) -> None:
    execute(tmp_path, statement, simple["layer"])
    (sentence,) = damage(engine, deep=True)
    assert sentence.startswith(f"blob {simple['layer']} is not a layer of ")
    assert damage(engine) == []


@pytest.mark.usefixtures("simple")
def test_an_index_of_the_database_that_lost_an_entry(engine: Engine, tmp_path: Path) -> None:
    """The index is said to be of another column, so that its entries are not those of its table."""
    with closing(sqlite3.connect(tmp_path / "root/stowage.db", isolation_level=None)) as connection:
        (version,) = connection.execute("PRAGMA schema_version").fetchone()
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE INDEX layer_diff_id ON layer (size)' WHERE name = 'layer_diff_id'")
        connection.execute(f"PRAGMA schema_version = {version + 1}")
    assert damage(engine) == ["database: row 1 missing from index layer_diff_id"]


def test_a_child_without_a_row(engine: Engine, simple: dict[str, Digest], tmp_path: Path) -> None:
    execute(tmp_path, "DELETE FROM blob WHERE digest = ?", simple["layer"])
    kinds = {finding.kind: finding.sentence for finding in findings(engine)}
    assert f"is missing its layer {simple['layer']}" in kinds[FindingKind.DAMAGE]
    assert f"blob {simple['layer']} has a file" in kinds[FindingKind.ORPHAN]
    assert "database: rows in table layer that refer to no row of table blob: 1" in [finding.sentence for finding in findings(engine)]


@ON_EVERY_STORAGE
def test_an_image_without_its_manifest(engine: Engine, simple: dict[str, Digest], tmp_path: Path) -> None:
    execute(tmp_path, "DELETE FROM edge WHERE parent = ?", simple["manifest"])
    execute(tmp_path, "DELETE FROM manifest WHERE digest = ?", simple["manifest"])
    assert f"image docker.io/library/simple:latest names {simple['manifest']}, which is not a recorded manifest" in damage(engine)


def test_leftovers_are_no_damage(engine: Engine) -> None:
    with engine.content.ingest("orphan") as ingest:
        ingest.write(b"orphan")
        orphan = ingest.commit()
    with engine.content.ingest("left") as ingest:
        ingest.write(b"left")
        ingest.keep()
    with engine.content.ingest("held") as ingest:
        ingest.write(b"held")
        found = findings(engine)
    assert found == [
        Finding(FindingKind.ORPHAN, f"blob {orphan} has a file of 6 bytes and no row"),
        Finding(FindingKind.PARTIAL, "partial blob left: 4 bytes that no writer holds"),
    ]


@ON_EVERY_STORAGE
def test_an_unreadable_list_of_files_is_reported_and_removed(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "app:1", layout, layout.image([make_layer("one")]))
    (layer,) = (layer.digest for layer in read_layers(engine, "app:1"))
    with engine.metadata.write() as tx:
        tx.layer_files.put(layer, b"no list", 1, most=1 << 20)
    (finding,) = verify_store(engine.metadata, engine.content)
    assert (finding.kind, str(layer) in finding.sentence) == (FindingKind.DAMAGE, True)
    assert list(verify_store(engine.metadata, engine.content)) == []
