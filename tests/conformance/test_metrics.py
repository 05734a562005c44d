"""The metrics of a real service: one answer from all workers, through the death of one, and gone when the service has ended."""

from __future__ import annotations

import hashlib
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.conftest import Service, listens
from tests.conformance.front import fronted
from tests.conformance.test_edges import CLOSE, exchange, head, parse
from tests.conformance.test_health import address, ask
from tests.ports import free_port
from tests.waiting import poll

Key = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def measured(tmp_path: Path) -> Iterator[Service]:
    environment = {"STOWAGE_HEALTH_BIND": f"127.0.0.1:{free_port()}", "STOWAGE_WORKERS": "3"}
    running = Service(tmp_path / "stowage", free_port(), environment)
    running.start()
    yield running
    running.stop()


def scrape(service: Service) -> dict[Key, float]:
    status, text = ask(service, "/metrics")
    assert status == 200
    return {
        (each.name, frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def value(service: Service, name: str, **labels: str) -> float:
    return scrape(service).get((name, frozenset(labels.items())), 0)


def folder_of(service: Service) -> Path:
    return Path("/dev/shm") / f"stowage-{os.geteuid()}-{hashlib.sha256(os.fsencode(service.root)).hexdigest()[:16]}"


def workers(service: Service) -> list[int]:
    assert service.process is not None
    pid = service.process.pid
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


PINGS = {"method": "GET", "route": "/_ping", "status": "200"}


def test_every_worker_counts_and_each_tells_the_sum(measured: Service) -> None:
    for _ in range(30):
        exchange(measured, head("GET", "/_ping", CLOSE))
    poll(lambda: value(measured, "stowage_http_requests_total", **PINGS) == 30)  # a request counts when its answer has ended
    assert {value(measured, "stowage_http_requests_total", **PINGS) for _ in range(10)} == {30}
    assert value(measured, "stowage_workers") == 3
    poll(lambda: value(measured, "stowage_threads", kind="stream") == 3 * 64)
    assert value(measured, "stowage_ready") == 1


def test_no_counter_goes_back_when_a_worker_is_killed(measured: Service) -> None:
    for _ in range(30):
        exchange(measured, head("GET", "/_ping", CLOSE))
    before = workers(measured)
    files = sorted(folder_of(measured).iterdir())
    os.kill(before[0], signal.SIGKILL)
    poll(lambda: len(set(workers(measured)) - set(before)) == 1)
    poll(lambda: value(measured, "stowage_workers") == 3)
    poll(lambda: value(measured, "stowage_worker_restarts_total") == 1)
    for _ in range(30):
        exchange(measured, head("GET", "/_ping", CLOSE))
    poll(lambda: value(measured, "stowage_http_requests_total", **PINGS) == 60)
    assert sorted(folder_of(measured).iterdir()) == files


def test_the_files_go_with_the_service_and_are_emptied_after_a_crash(measured: Service) -> None:
    exchange(measured, head("GET", "/_ping", CLOSE))
    poll(lambda: value(measured, "stowage_http_requests_total", **PINGS) == 1)
    measured.kill()
    poll(lambda: not listens(measured.port) and not listens(int(address(measured).rpartition(":")[2])))  # the workers die last
    assert folder_of(measured).is_dir()
    measured.start()
    assert value(measured, "stowage_http_requests_total", **PINGS) == 0
    measured.stop()
    assert not folder_of(measured).exists()


def test_the_address_of_the_service_has_none_unless_asked_for(measured: Service, tmp_path: Path) -> None:
    assert parse(exchange(measured, head("GET", "/metrics", CLOSE)))[0] == 404
    other = Service(tmp_path / "other", free_port(), {"STOWAGE_METRICS": "on"})
    other.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{other.port}/metrics", timeout=20) as answer:
            assert b"stowage_ready 1.0" in answer.read()
        folder = tmp_path / "nginx"
        folder.mkdir()
        with fronted(other, folder) as front:
            for path in ("/metrics", "/metrics?x=1", "/%6detrics", "/./metrics", "/a/../metrics"):
                assert parse(front.exchange(head("GET", path, CLOSE)))[0] == 404, path
            assert parse(front.exchange(head("GET", "//metrics", CLOSE)))[0] in (301, 404)
            assert parse(front.exchange(head("GET", "/readyz", CLOSE)))[0] == 200
    finally:
        other.stop()


def test_without_a_place_for_its_files_the_service_starts_without_metrics(tmp_path: Path) -> None:
    port = free_port()
    service = Service(tmp_path / "stowage", free_port(), {"STOWAGE_HEALTH_BIND": f"127.0.0.1:{port}"})
    (tmp_path / "elsewhere").mkdir()
    folder_of(service).symlink_to(tmp_path / "elsewhere")
    service.root.mkdir()
    (service.root / "metrics").touch()
    try:
        service.start()
        assert [ask(service, path)[0] for path in ("/readyz", "/metrics")] == [200, 404]
        assert " WARNING stowage.app.server.serving there are no metrics, since their files cannot be created: " in service.log.read_text()
    finally:
        service.stop()
        folder_of(service).unlink()
