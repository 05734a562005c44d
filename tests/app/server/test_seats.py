"""The pace of every route and request, and who runs and who waits."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator

import pytest
from flask import Flask

from stowage.app.server.seats import HEALTH_THREADS, LIST_THREADS, PROBE_THREADS, QUICK_THREADS, WRITE_THREADS, Kind, Pace, Routes, Seats
from stowage.blueprints.request import ENGINE
from stowage.blueprints.routing import Route
from tests.conformance.test_edges import head

QUICK, QUICK_TCP, LIST, LIST_TCP, SLOW, SLOW_TCP, PROBE, PROBE_TCP = (
    Kind(pace, local) for pace in (Pace.QUICK, Pace.LIST, Pace.SLOW, Pace.PROBE) for local in (True, False)
)
WRITE, WRITE_TCP = Kind(Pace.WRITE, local=True), Kind(Pace.WRITE, local=False)
HEALTH = Kind(Pace.HEALTH, local=False)
SLOW_ROUTES = {
    "image_attestations.image_attestations": "checks statements, which takes memory and seconds",
    "page_difference.page_difference": "reads the layers of two images",
    "page_files.page_files": "reads the layers of an image",
    "distribution_inspect.distribution_inspect": "asks a registry",
    "image_create.image_create": "pulls, or reads a body",
    "image_save.image_save": "streams",
    "image_save_several.image_save_several": "streams",
    "image_save_since.image_save_since": "reads a body, streams",
    "system_blobs.system_blobs": "lists every blob",
    "image_load.image_load": "reads a body, and streams",
    "image_prune.image_prune": "removes any number of images",
    "image_push.image_push": "streams",
    "page_change.page_delete": "removes any number of images",
    "page_change.page_prune": "removes any number of images",
    "image_search.image_search": "asks a registry",
    "system_auth.system_auth": "reads a body, and asks a registry",
    "system_events.system_events": "streams",
}
LISTING = {
    "page_free.freed": "reads every image",
    "image_list.image_list": "reads every image",
    "page_family.page_family": "reads every image",
    "page_free.page_free": "reads every image",
    "page_images.page_images": "reads every image",
    "page_layer.page_layer": "counts the images that have a layer",
    "page_overview.page_overview": "counts every blob",
    "system_df.system_df": "reads every image",
}
PROBES = {"system_healthz.system_healthz", "system_ping.system_ping", "system_version.system_version"}
OF_SLOW_VIEWS = {"stream_progress", "stream_tar", "stream_live", "body_stream", "registry_auth", "push_auth", "login_auth", "meta_headers"}


@pytest.fixture
def routes(app: Flask) -> Routes:
    return Routes(app.url_map)


def test_every_route_is_quick_or_has_a_reason_for_another_pace(app: Flask, routes: Routes) -> None:
    paces = dict.fromkeys(SLOW_ROUTES, "slow") | dict.fromkeys(LISTING, "listing") | dict.fromkeys(PROBES, "probe")
    for route in app.url_map.iter_rules():
        assert isinstance(route, Route)
        expected = paces.get(route.endpoint, "quick")
        assert route.pace == expected, route.endpoint
        path = route.rule.replace("<path:name>", "team/app:1").replace("<path:", "").replace("<", "").replace(">", "")
        for method in route.methods or ():
            for prefix in ("", "/v1.45"):
                pace = routes.pace(head(method, prefix + path))
                assert (pace is Pace.SLOW) is (expected == "slow"), f"{method} {path}"
                assert (pace is Pace.WRITE) is (expected == "quick" and method not in {"GET", "HEAD", "OPTIONS"}), f"{method} {path}"


def test_no_quick_view_takes_what_only_slow_ones_need(app: Flask) -> None:
    quick = {route.endpoint for route in app.url_map.iter_rules() if isinstance(route, Route) and route.endpoint not in SLOW_ROUTES}
    modules = {sys.modules[app.view_functions[endpoint].__module__] for endpoint in quick}
    assert {name for module in modules for name, value in vars(module).items() if inspect.isfunction(value)} & OF_SLOW_VIEWS == set()


@pytest.mark.parametrize(
    ("request_", "pace"),
    [
        pytest.param(head("POST", "/images/app/tag?repo=a", "Content-Length: 0"), Pace.WRITE, id="empty body"),
        pytest.param(head("POST", "/images/app/tag?repo=a", "Content-Length: 9"), Pace.SLOW, id="body"),
        pytest.param(head("POST", "/images/app/tag?repo=a", "content-length:9") + b"filters=x", Pace.SLOW, id="body that is here"),
        pytest.param(head("POST", "/images/app/tag?repo=a", "TRANSFER-ENCODING: chunked"), Pace.SLOW, id="chunks"),
        pytest.param(head("GET", "/_ping") + head("POST", "/images/load", "Content-Length: 9"), Pace.PROBE, id="a next one with a body"),
        pytest.param(b"\r\n" + head("GET", "/_ping"), Pace.PROBE, id="empty line in front"),
        pytest.param(head("GET", "/images/" + "/json/x" * 1000 + "/json"), Pace.SLOW, id="long path"),
        pytest.param(head("GET", "http://localhost/v1.45/_ping"), Pace.PROBE, id="absolute target"),
        pytest.param(head("GET", "/images%2Fjson"), Pace.LIST, id="escaped slash"),
        pytest.param(head("GET", "/%65vents"), Pace.SLOW, id="escaped letter"),
        pytest.param(head("GET", "/images/get?names=a"), Pace.SLOW, id="save of several"),
        pytest.param(head("GET", "/nope"), Pace.SLOW, id="no route"),
        pytest.param(head("GET", "/images/json"), Pace.LIST, id="list"),
        pytest.param(head("GET", "/v1.45/images/json?filters=%7B%7D"), Pace.LIST, id="filtered list"),
        pytest.param(head("GET", "//events"), Pace.SLOW, id="slashes in front"),
        pytest.param(b"GET /_ping\r\n", Pace.QUICK, id="refused: no version"),
        pytest.param(b"GET http://[ HTTP/1.1\r\n", Pace.QUICK, id="refused: no target"),
    ],
)
def test_a_request_is_quick_when_it_has_no_body_and_a_quick_route(routes: Routes, request_: bytes, pace: Pace) -> None:
    assert routes.pace(request_) is pace


def test_probes_use_nothing_of_the_store(app: Flask) -> None:
    del app.extensions[ENGINE]
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/_ping", "/v1.45/_ping", "/healthz")] == [200] * 3


def fill(seats: Seats[str], kind: Kind, count: int = 100) -> int:
    """How many of so many jobs of a kind run."""
    for number in range(count):
        seats.enter(f"{kind} {number}", kind)
    return sum(1 for _ in started(seats))


def started(seats: Seats[str]) -> Iterator[str]:
    while (job := seats.next()) is not None:
        yield job


@pytest.mark.parametrize(("threads", "over_tcp"), [(1, 1), (2, 2), (3, 3), (4, 3), (8, 6), (64, 48)])
def test_each_kind_has_its_threads_and_leaves_some_to_the_unix_socket(threads: int, over_tcp: int) -> None:
    seats = Seats[str](threads, has_local=True)
    assert [fill(seats, SLOW_TCP), fill(seats, SLOW)] == [over_tcp, threads - over_tcp]
    assert [fill(seats, QUICK_TCP), fill(seats, QUICK)] == [QUICK_THREADS // 2] * 2
    assert [fill(seats, PROBE_TCP), fill(seats, PROBE)] == [PROBE_THREADS // 2] * 2
    assert fill(seats, HEALTH) == HEALTH_THREADS
    assert seats.threads == seats.running == threads + QUICK_THREADS + PROBE_THREADS + HEALTH_THREADS


def test_without_a_unix_socket_nothing_is_left_for_it() -> None:
    seats = Seats[str](8, has_local=False)
    assert [fill(seats, SLOW_TCP), fill(seats, QUICK_TCP), fill(seats, PROBE_TCP)] == [8, QUICK_THREADS, PROBE_THREADS]


@pytest.mark.parametrize(("lists", "others", "has_local"), [(LIST, QUICK, True), (LIST_TCP, QUICK, True), (LIST_TCP, QUICK_TCP, False)])
def test_lists_leave_threads_to_requests_about_one_image(lists: Kind, others: Kind, has_local: bool) -> None:
    seats = Seats[str](64, has_local=has_local)
    ran = fill(seats, lists)
    assert ran == (LIST_THREADS // 2 if has_local and not lists.local else LIST_THREADS)
    assert fill(seats, others) == QUICK_THREADS - ran


@pytest.mark.parametrize(("writes", "lists", "reads"), [(WRITE, LIST, QUICK), (WRITE_TCP, LIST_TCP, QUICK_TCP)])
@pytest.mark.parametrize("has_local", [True, False])
def test_requests_that_wait_for_other_writers_leave_threads_to_those_that_read(
    writes: Kind, lists: Kind, reads: Kind, *, has_local: bool
) -> None:
    seats = Seats[str](64, has_local=has_local)
    ran = fill(seats, writes)
    assert 1 <= ran <= WRITE_THREADS
    assert fill(seats, reads, 1) == 1
    if not has_local or writes.local:
        assert fill(seats, lists) == LIST_THREADS


def test_whoever_waits_runs_when_one_of_its_kind_has_ended_in_order() -> None:
    seats = Seats[str](1, has_local=True)
    for name in ("first", "second", "third"):
        seats.enter(name, SLOW)
    assert list(started(seats)) == ["first"]
    seats.withdraw("second", SLOW)
    seats.leave(SLOW)
    assert list(started(seats)) == ["third"]


def test_quick_ones_go_first_and_local_ones_before_others() -> None:
    seats = Seats[str](9, has_local=True)
    order = [PROBE, PROBE_TCP, QUICK, QUICK_TCP, SLOW, SLOW_TCP]
    for kind in reversed(order):
        seats.enter(str(kind), kind)
    assert list(started(seats)) == list(map(str, order))


@pytest.mark.parametrize(("one", "other"), [(QUICK, LIST), (QUICK_TCP, LIST_TCP), (LIST, QUICK)])
def test_lists_and_others_take_turns_in_order_of_arrival(one: Kind, other: Kind) -> None:
    seats = Seats[str](1, has_local=True)
    fill(seats, one, 2 * QUICK_THREADS)
    seats.enter("waits", other)
    for number in range(100):
        seats.enter(f"later {number}", one)
    order = list(started(seats))
    while "waits" not in order and len(order) < 2 * QUICK_THREADS:
        seats.leave(one)
        order += started(seats)
    assert order[-1] == "waits"


def test_the_load_is_told_by_kind() -> None:
    seats = Seats[str](4, has_local=True)
    fill(seats, LIST, 3)
    fill(seats, SLOW_TCP, 4)
    assert seats.load() == {
        "health": (HEALTH_THREADS, 0, 0),
        "probe": (PROBE_THREADS, 0, 0),
        "quick": (QUICK_THREADS, 2, 1),
        "stream": (4, 3, 1),
    }
