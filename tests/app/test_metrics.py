"""What is counted, under which labels, and in which files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from stowage.app import metrics
from stowage.app.application import create_app
from stowage.app.metrics import Metrics
from stowage.app.settings import Config
from stowage.blueprints.log_entry import LogEntry
from stowage.services.engine import Engine
from stowage.services.meter import Tally
from stowage.services.system.readiness import Totals, read_totals
from tests.builders import Layout, load_image, make_layer, simple_layout
from tests.fake_registry import FakeRegistry

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
NOTHING = Totals(None, None, 0)


@pytest.fixture
def counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Metrics]:
    """Metrics with their files in a folder of the test's own."""
    monkeypatch.setattr(metrics, "_MEMORY", tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    made = Metrics(tmp_path / "root")
    made.prepare_worker(0)
    made.begin_worker(0)
    yield made
    made.close()


def samples(counted: Metrics, totals: Totals = NOTHING) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every value by its name and the values of its labels."""
    text = counted.exposition(lambda: totals, ready=True).decode()
    families = text_string_to_metric_families(text)
    return {(each.name, tuple(each.labels.values())): each.value for family in families for each in family.samples}


def test_every_metric_is_in_the_document(counted: Metrics) -> None:
    rows = re.findall(r"^\| `(stowage_\w+)` \| (counter|gauge|histogram) \|(.*?)\| .+ \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert sorted(name for name, _, _ in rows) == sorted(counted.names())
    for family in text_string_to_metric_families(counted.exposition(lambda: NOTHING, ready=True).decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        labels = {label for each in family.samples for label in each.labels} - {"le"}
        ((kind, described),) = [(kind, set(re.findall(r"`(\w+)`", words))) for other, kind, words in rows if other == name]
        assert (kind, labels <= described) == (family.type, True), name


@pytest.fixture
def app(counted: Metrics, engine: Engine, tmp_path: Path) -> Flask:
    config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root"), "STOWAGE_METRICS": "on"})
    return create_app(config, build=lambda _: engine, metrics=counted)


def test_a_request_is_counted_by_its_rule(app: Flask, counted: Metrics) -> None:
    client = app.test_client()
    for path in ("/images/a/json", "/v1.45/images/b/c:1/json", "/_ping", "/nope", "/nope/again"):
        client.get(path, buffered=True)
    client.open("/nope", method="BREW", buffered=True)
    found = samples(counted)
    requests = {labels: value for (name, labels), value in found.items() if name == "stowage_http_requests_total"}
    assert requests == {
        ("GET", "/images/{name}/json", "404"): 2,
        ("GET", "/_ping", "200"): 1,
        ("any", "none", "404"): 3,
    }
    assert found["stowage_http_request_seconds_count", ("GET", "/images/{name}/json")] == 2


@pytest.mark.parametrize(
    ("method", "path", "body", "labels"),
    [
        pytest.param("GET", "/images/get?names=simple", b"", ("save", "ok", ""), id="save"),
        pytest.param("GET", "/images/get?names=nope", b"", ("save", "refused", ""), id="save of what there is not"),
        pytest.param("POST", "/images/load", simple_layout().to_tar(), ("load", "ok", ""), id="load"),
        pytest.param("POST", "/images/load", b"no archive", ("load", "failed", ""), id="load of nonsense"),
        pytest.param("POST", "/images/create?fromImage=localhost:1/a&tag=1", b"", ("pull", "failed", "other"), id="pull from nowhere"),
        pytest.param("POST", "/images/simple/push", b"", ("push", "failed", "other"), id="push to nowhere"),
    ],
)
def test_an_operation_is_counted_with_its_outcome(
    app: Flask, engine: Engine, counted: Metrics, method: str, path: str, body: bytes, labels: tuple[str, ...]
) -> None:
    load_image(engine, simple_layout().to_tar())
    app.test_client().post("/images/simple/tag?repo=localhost:1/simple&tag=latest", buffered=True)
    answer = app.test_client().open(
        path.replace("/images/simple/push", "/images/localhost:1/simple/push?tag=latest"), method=method, data=body
    )
    size = len(answer.data)
    answer.close()
    found = samples(counted)
    operations = {key: value for (name, key), value in found.items() if name == "stowage_operations_total" and value}
    assert operations == {labels: 1}
    assert found["stowage_operation_seconds_count", labels[:2]] == 1
    assert found["stowage_operation_bytes_total", labels] == {"save": size, "load": len(body)}.get(labels[0], 0)


def test_a_pull_is_counted_by_its_registry(app: Flask, counted: Metrics, registry: FakeRegistry) -> None:
    layout = Layout()
    name = registry.publish(layout, layout.image([make_layer("a")]))
    for _ in range(2):
        app.test_client().post(f"/images/create?fromImage={name}&tag=1", buffered=True)
    found = samples(counted)
    assert found["stowage_operations_total", ("pull", "ok", registry.host)] == 2
    assert 0 < found["stowage_operation_bytes_total", ("pull", "ok", registry.host)] < sum(map(len, layout.blobs.values()))
    assert found["stowage_pulled_blobs_total", ("registry",)] == 2


def end(counted: Metrics, registry: str, outcome: str = "ok") -> None:
    counted.operation(LogEntry(operation="pull", registry=registry, tally=Tally()), outcome, 1, 10)


def named(counted: Metrics) -> set[str]:
    return {labels[2] for (name, labels), value in samples(counted).items() if name == "stowage_operations_total" and value}


def test_only_some_registries_are_named_and_none_that_has_never_worked(counted: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_REGISTRIES", 2)
    end(counted, "typo.example", "failed")
    for registry in ("a.example", "b.example", "c.example"):
        end(counted, registry)
    end(counted, "a.example", "failed")
    assert named(counted) == {"a.example", "b.example", "other"}


def test_a_worker_continues_where_the_one_before_it_was(counted: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_REGISTRIES", 1)
    end(counted, "a.example")
    counted.load({"stream": (4, 3, 2)}, {"tcp": 1}, 1)
    files = sorted(counted.folder.iterdir())
    counted._process = metrics._PARENT
    counted.end_worker(0)
    found = samples(counted)
    assert found["stowage_worker_restarts_total", ()] == 1
    assert (found["stowage_threads_busy", ("stream",)], found["stowage_workers", ()]) == (0, 0)
    counted.prepare_worker(0)
    counted.begin_worker(0)
    end(counted, "b.example")
    end(counted, "a.example")
    found = samples(counted)
    assert (named(counted), found["stowage_operations_total", ("pull", "ok", "a.example")]) == ({"a.example", "other"}, 2)
    assert (found["stowage_workers", ()], sorted(counted.folder.iterdir())) == (1, files)


def test_the_space_of_the_files_is_allocated(counted: Metrics) -> None:
    for path in counted.folder.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size >= 1 << 16, path
    counted.end_worker(0)
    for path in counted.folder.iterdir():
        assert path.stat().st_blocks * 512 >= path.stat().st_size >= 1 << 16, path


def test_all_values_that_there_can_be_fit_in_the_files(app: Flask, counted: Metrics) -> None:
    sizes = {path.name: path.stat().st_size for path in counted.folder.iterdir()}
    for route in app.url_map.iter_rules():
        for method in route.methods or ():
            for status in ("200", "204", "301", "400", "403", "404", "409", "500", "501", "503"):
                counted.request(route, method, status, 1)  # type: ignore[arg-type]
    for number in range(metrics._REGISTRIES):
        for outcome in ("ok", "failed", "client-left", "cut-off", "refused"):
            for operation in ("pull", "push"):
                entry = LogEntry(operation=operation, registry=f"{number}".rjust(250, "x"), tally=Tally())
                counted.operation(entry, outcome, 1, 1)
    assert {path.name: path.stat().st_size for path in counted.folder.iterdir()} == sizes


def test_a_folder_that_an_earlier_service_left_is_emptied(counted: Metrics, tmp_path: Path) -> None:
    end(counted, "a.example")
    again = Metrics(tmp_path / "root")
    assert (again.folder, [path.name for path in again.folder.glob("*_0.db")]) == (counted.folder, [])
    again.close()


def test_what_others_put_in_the_place_of_the_folder_stays_and_the_root_is_used(counted: Metrics, tmp_path: Path) -> None:
    counted.close()
    (tmp_path / "root").mkdir(exist_ok=True)
    counted.folder.symlink_to(tmp_path)
    elsewhere = Metrics(tmp_path / "root")
    assert (elsewhere.folder, counted.folder.is_symlink()) == (tmp_path / "root" / "metrics", True)
    elsewhere.close()
    counted.folder.unlink()


def test_without_memory_the_files_are_in_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_MEMORY", tmp_path / "none")
    (tmp_path / "root").mkdir()
    assert metrics._make_folder(tmp_path / "root") == tmp_path / "root" / "metrics"
    with pytest.raises(PermissionError, match="can be written"):
        metrics._make_folder(tmp_path / "missing" / "root")


def test_the_store_is_counted_and_not_each_time(counted: Metrics, engine: Engine) -> None:
    load_image(engine, simple_layout().to_tar())
    totals = read_totals(engine)
    assert totals.rows is not None
    found = samples(counted, totals)
    assert (found["stowage_store_images", ()], found["stowage_store_blobs", ()]) == (1, totals.rows.blobs)
    assert found["stowage_store_blob_bytes", ()] == totals.rows.bytes > 0
    assert found["stowage_store_free_bytes", ()] > 0
    assert found["stowage_leases", ("running",)] == 0
    assert samples(counted, NOTHING)["stowage_store_images", ()] == 1


def test_what_cannot_be_read_has_no_value(counted: Metrics, engine: Engine, tmp_path: Path) -> None:
    os.rename(tmp_path / "root" / "blobs", tmp_path / "elsewhere")
    totals: Any = read_totals(engine)
    assert (totals.free, totals.rows.images) == (None, 0)
    assert ("stowage_store_free_bytes", ()) not in samples(counted, totals)
