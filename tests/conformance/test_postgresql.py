"""A service whose database is PostgreSQL: the database goes and comes back, and another node is refused."""

from __future__ import annotations

import http.client
import itertools
import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conformance.conftest import Service
from tests.conformance.test_crash import archive, prune_named, request
from tests.ports import free_port
from tests.postgresql import Cluster, running_cluster
from tests.waiting import poll

CLIENTS = 4
OUTAGES = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A server that these tests stop and start."""
    with running_cluster() as running:
        yield running


@pytest.fixture
def service(cluster: Cluster, tmp_path: Path) -> Iterator[Service]:
    url = cluster.create_database("images")
    running = Service(tmp_path / "stowage", free_port(), {"STOWAGE_DATABASE_URL": url, "STOWAGE_DATABASE_TIMEOUT": "6"})
    running.start()
    yield running
    running.stop()
    cluster.drop_database("images")


def test_a_database_that_crashes_under_traffic_loses_nothing(service: Service, cluster: Cluster) -> None:
    over, kept = threading.Event(), list[str]()
    with ThreadPoolExecutor() as pool:
        clients = [pool.submit(load_until, over, service, number, kept) for number in range(CLIENTS)]
        try:
            for _ in range(OUTAGES):
                wait_for_more(kept)
                cluster.stop()
                cluster.start()
            wait_for_more(kept)
        finally:
            over.set()
        for client in clients:
            client.result()
    for name in kept:
        assert request(service, "GET", f"/images/{name}/json")[0] == 200
    verified = service.run("verify")
    assert verified.returncode == 0, verified.stdout  # there may be files without a row
    assert prune_named(service)[0] == 200
    assert request(service, "GET", "/images/json") == (200, b"[]\n")


def wait_for_more(kept: list[str]) -> None:
    """Until the clients have got on: each has more than one image acknowledged."""
    enough = len(kept) + 3 * CLIENTS
    poll(lambda: len(kept) > enough, 60)


def load_until(over: threading.Event, service: Service, client: int, kept: list[str]) -> None:
    """Load images and delete every other one; adds the names of those that were acknowledged and not deleted."""
    for number in itertools.takewhile(lambda _: not over.is_set(), itertools.count()):
        name = f"outage/client{client}:{number}"
        _, answer = request(service, "POST", "/images/load", archive(name, 1000 * client + number, layer_bytes=100_000))
        if f"Loaded image: {name}" not in answer.decode():
            continue
        if number % 2:
            request(service, "DELETE", f"/images/{name}")
        else:
            kept.append(name)


def test_while_the_database_is_away_every_answer_says_so(service: Service, cluster: Cluster) -> None:
    assert request(service, "POST", "/images/load", archive("outage/before:1", 1))[0] == 200
    cluster.stop()
    try:
        status, answer = request(service, "GET", "/images/json")
        assert (status, json.loads(answer)["message"][:29]) == (503, "the database is unreachable: ")
        _, answer = request(service, "POST", "/images/load", archive("outage/during:1", 2))
        assert "the database is unreachable: " in answer.decode()
        assert request(service, "GET", "/_ping")[0] == 200
    finally:
        cluster.start()
    listed = json.loads(request(service, "GET", "/images/json")[1])
    assert [image["RepoTags"] for image in listed] == [["outage/before:1"]]


def test_a_listener_gets_every_event_in_order_although_the_database_was_away(service: Service, cluster: Cluster) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.request("GET", "/events")
    stream = connection.getresponse()
    for number in range(3):
        assert b"Loaded image" in request(service, "POST", "/images/load", archive(f"heard/image:{number}", number, layer_bytes=1000))[1]
        cluster.stop()
        time.sleep(1)  # the listener looks several times
        cluster.start()
    history = request(service, "GET", f"/events?since=0&until={time.time():.9f}")[1].splitlines(keepends=True)
    assert len(history) >= 3
    assert [stream.readline() for _ in history] == history
    connection.close()


def test_a_service_on_a_copy_of_the_folder_is_refused_while_the_first_runs(service: Service, tmp_path: Path) -> None:
    shutil.copytree(service.root, tmp_path / "copy", ignore=shutil.ignore_patterns("*.sock"))
    copy = Service(tmp_path / "copy", free_port(), service.environment)
    refused = copy.run("serve")
    assert refused.returncode == 1
    assert refused.stderr == "stowage: another Stowage uses this database, on another machine or with another content folder or bucket\n"
    assert service.run("verify").stdout == "every image is whole\n"
    service.stop()
    copy.start()
    assert request(copy, "GET", "/images/json")[0] == 200
    copy.stop()


def test_the_password_is_shown_nowhere(service: Service, cluster: Cluster) -> None:
    service.stop()
    (scheme, rest), name = service.environment["STOWAGE_DATABASE_URL"].split("://"), "postgres@"
    service.environment["STOWAGE_DATABASE_URL"] = f"{scheme}://{rest.replace(name, 'postgres:sec%2Cret@')}"
    service.environment["STOWAGE_LOG_LEVEL"] = "debug"
    service.start()
    assert b"Database: postgresql" in service.docker("info").stdout
    told = service.docker("info").stdout.decode() + service.run("settings").stdout
    cluster.stop()
    try:
        told += request(service, "GET", "/images/json")[1].decode()
    finally:
        cluster.start()
    told += service.log.read_text()
    assert "the database is unreachable" in told
    assert "sec%2Cret" not in told
    assert "sec,ret" not in told


def test_a_backup_made_as_documented_is_a_store(service: Service, cluster: Cluster, tmp_path: Path) -> None:
    """docs/deployment.md: the database first, then the folder; both are restored before a service starts."""
    assert request(service, "POST", "/images/load", archive("backup/before:1", 1))[0] == 200
    dump = cluster.folder / "stowage.dump"
    cluster.run("pg_dump", "--format=custom", f"--file={dump}", "images")
    assert request(service, "POST", "/images/load", archive("backup/after:1", 2))[0] == 200
    shutil.copytree(service.root, tmp_path / "restored", ignore=shutil.ignore_patterns("*.sock", "locks", "ingest"))

    cluster.run("createuser", "restorer")
    cluster.run("createdb", "--owner=restorer", "--encoding=UTF8", "--template=template0", "restored")
    cluster.run("pg_restore", "--no-owner", "--role=restorer", "--dbname=restored", str(dump))
    restored = Service(tmp_path / "restored", free_port(), {"STOWAGE_DATABASE_URL": cluster.url("restored", user="restorer")})
    restored.start()
    assert [image["RepoTags"] for image in json.loads(request(restored, "GET", "/images/json")[1])] == [["backup/before:1"]]
    assert restored.run("verify").returncode == 0
    assert "Loaded image: backup/after:1" in request(restored, "POST", "/images/load", archive("backup/after:1", 2))[1].decode()
    restored.stop()
    cluster.drop_database("restored")
