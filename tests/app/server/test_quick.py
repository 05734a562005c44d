"""The pace of every route and request."""

from __future__ import annotations

import inspect
import sys

import pytest
from flask import Flask

from stowage.app.server.quick import Routes
from stowage.app.server.seats import Pace
from stowage.blueprints.request import ENGINE
from stowage.blueprints.routing import Route
from tests.conformance.test_edges import head

SLOW = {
    "distribution_inspect.distribution_inspect": "asks a registry",
    "image_create.image_create": "pulls, or reads a body",
    "image_save.image_save": "streams",
    "image_save_several.image_save_several": "streams",
    "image_save_since.image_save_since": "reads a body, streams",
    "system_blobs.system_blobs": "lists every blob",
    "image_load.image_load": "reads a body, and streams",
    "image_prune.image_prune": "removes any number of images",
    "image_push.image_push": "streams",
    "page_delete.page_delete": "removes any number of images",
    "page_prune.page_prune": "removes any number of images",
    "image_search.image_search": "asks a registry",
    "system_auth.system_auth": "reads a body, and asks a registry",
    "system_events.system_events": "streams",
}
COMPUTING = {
    "facts_difference.facts_difference": "reads the layers of two images",
    "facts_files.facts_files": "reads the layers of an image",
    "image_attestations.image_attestations": "checks statements, which takes memory and seconds",
    "page_difference.page_difference": "reads the layers of two images",
    "page_files.page_files": "reads the layers of an image",
}
LISTING = {
    "facts_disk.facts_disk": "counts every blob",
    "facts_family.facts_family": "reads every image",
    "facts_freed.facts_freed": "reads every image",
    "facts_layer.facts_layer": "counts the images that have a layer",
    "image_list.image_list": "reads every image",
    "page_family.page_family": "reads every image",
    "page_free.page_free": "reads every image",
    "page_images.page_images": "reads every image",
    "page_layer.page_layer": "counts the images that have a layer",
    "page_overview.page_overview": "counts every blob",
    "system_df.system_df": "reads every image",
}
INSTANT = {"system_healthz.system_healthz", "system_ping.system_ping", "system_version.system_version"}
OTHERS = {"slow": SLOW, "computing": COMPUTING, "listing": LISTING, "instant": INSTANT}
OF_SLOW_VIEWS = {"stream_progress", "stream_tar", "stream_live", "body_stream", "registry_auth", "push_auth", "login_auth", "meta_headers"}


@pytest.fixture
def routes(app: Flask) -> Routes:
    return Routes(app.url_map)


def test_every_route_is_quick_or_has_a_reason_for_another_pace(app: Flask, routes: Routes) -> None:
    paces = {endpoint: pace for pace, endpoints in OTHERS.items() for endpoint in endpoints}
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
    quick = {route.endpoint for route in app.url_map.iter_rules() if isinstance(route, Route) and route.endpoint not in SLOW}
    modules = {sys.modules[app.view_functions[endpoint].__module__] for endpoint in quick}
    assert {name for module in modules for name, value in vars(module).items() if inspect.isfunction(value)} & OF_SLOW_VIEWS == set()


@pytest.mark.parametrize(
    ("request_", "pace"),
    [
        pytest.param(head("POST", "/images/app/tag?repo=a", "Content-Length: 0"), Pace.WRITE, id="empty body"),
        pytest.param(head("POST", "/images/app/tag?repo=a", "Content-Length: 9"), Pace.SLOW, id="body"),
        pytest.param(head("POST", "/images/app/tag?repo=a", "content-length:9") + b"filters=x", Pace.SLOW, id="body that is here"),
        pytest.param(head("POST", "/images/app/tag?repo=a", "TRANSFER-ENCODING: chunked"), Pace.SLOW, id="chunks"),
        pytest.param(head("GET", "/_ping") + head("POST", "/images/load", "Content-Length: 9"), Pace.INSTANT, id="a next one with a body"),
        pytest.param(b"\r\n" + head("GET", "/_ping"), Pace.INSTANT, id="empty line in front"),
        pytest.param(head("GET", "/images/" + "/json/x" * 1000 + "/json"), Pace.SLOW, id="long path"),
        pytest.param(head("GET", "http://localhost/v1.45/_ping"), Pace.INSTANT, id="absolute target"),
        pytest.param(head("GET", "/images%2Fjson"), Pace.LIST, id="escaped slash"),
        pytest.param(head("GET", "/%65vents"), Pace.SLOW, id="escaped letter"),
        pytest.param(head("GET", "/images/get?names=a"), Pace.SLOW, id="save of several"),
        pytest.param(head("GET", "/nope"), Pace.SLOW, id="no route"),
        pytest.param(head("GET", "/images/json"), Pace.LIST, id="list"),
        pytest.param(head("GET", "/v1.45/images/json?filters=%7B%22reference%22:%5B%22app%22%5D%7D"), Pace.READ, id="list by name"),
        pytest.param(head("GET", "//events"), Pace.SLOW, id="slashes in front"),
        pytest.param(b"GET /_ping\r\n", Pace.READ, id="refused: no version"),
        pytest.param(b"GET http://[ HTTP/1.1\r\n", Pace.READ, id="refused: no target"),
    ],
)
def test_a_request_is_quick_when_it_has_no_body_and_a_quick_route(routes: Routes, request_: bytes, pace: Pace) -> None:
    assert routes.pace(request_) is pace


def test_instant_routes_use_nothing_of_the_store(app: Flask) -> None:
    del app.extensions[ENGINE]
    client = app.test_client()
    assert [client.get(path).status_code for path in ("/_ping", "/v1.45/_ping", "/healthz")] == [200] * 3
