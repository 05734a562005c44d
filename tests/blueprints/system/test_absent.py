"""What is true of everything but images."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from stowage.blueprints.system.absent import ROUTES, AbsentRoute

NO_MANAGER = 'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.'


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_answers_as_its_table_says(client: FlaskClient, route: AbsentRoute) -> None:
    path = (
        route.path.replace("<path:name>", "x")
        .replace("<path:id>", "x")
        .replace("<name>", "x")
        .replace("<id>", "x")
        .replace("<checkpoint>", "y")
    )
    response = client.open(path, method=route.method)
    assert response.status_code == route.reply.answer.status
    if route.method != "HEAD":
        assert ("message" in (response.get_json() or ())) == (response.status_code != 200)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        pytest.param("GET", "/containers/json?all=1&limit=0", [], id="containers"),
        pytest.param("GET", "/volumes", {"Volumes": [], "Warnings": None}, id="volumes"),
        pytest.param("GET", "/networks", [], id="networks"),
        pytest.param("GET", "/networks/", [], id="networks with a slash"),
        pytest.param("GET", "/plugins", [], id="plugins"),
        pytest.param("POST", "/containers/prune", {"ContainersDeleted": None, "SpaceReclaimed": 0}, id="prune containers"),
        pytest.param("POST", "/volumes/prune", {"VolumesDeleted": [], "SpaceReclaimed": 0}, id="prune volumes"),
        pytest.param("POST", "/networks/prune", {"NetworksDeleted": None}, id="prune networks"),
        pytest.param("POST", "/build/prune", {"CachesDeleted": None, "SpaceReclaimed": 0}, id="prune the build cache"),
    ],
)
def test_lists_and_reports_are_empty(client: FlaskClient, method: str, path: str, body: object) -> None:
    assert client.open(path, method=method).get_json() == body


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        pytest.param("GET", "/containers/a/b/json", 404, "No such container: a/b", id="a container"),
        pytest.param("DELETE", "/containers/x?force=1", 404, "No such container: x", id="remove a container"),
        pytest.param("DELETE", "/containers/", 400, 'invalid name or ID supplied: ""', id="a container without a name"),
        pytest.param("POST", "/containers/x/kill", 404, "cannot kill container: x: No such container: x", id="kill a container"),
        pytest.param("GET", "/exec/x/json", 404, "No such exec instance: x", id="an exec instance"),
        pytest.param("GET", "/volumes/x", 404, "get x: no such volume", id="a volume"),
        pytest.param("DELETE", "/volumes/x", 404, "get x: no such volume", id="remove a volume"),
        pytest.param("GET", "/volumes/", 404, "get: no such volume", id="a volume without a name"),
        pytest.param("GET", "/networks/x", 404, "network x not found", id="a network"),
        pytest.param("GET", "/plugins/x/json", 404, 'plugin "x" not found', id="a plugin"),
        pytest.param("GET", "/swarm", 503, NO_MANAGER, id="the swarm"),
        pytest.param("POST", "/swarm/leave", 503, "This node is not part of a swarm", id="leave the swarm"),
        pytest.param("GET", "/v1.24/secrets/x", 400, "GET /secrets/{id} requires minimum API version 1.25", id="below a route's version"),
        pytest.param("PUT", "/v1.41/volumes/x", 400, "PUT /volumes/{name:.*} requires minimum API version 1.42", id="below, with a path"),
        pytest.param("PUT", "/networks/x", 404, "page not found", id="a wrong method"),
        pytest.param("HEAD", "/volumes", 404, None, id="no HEAD beside GET"),
        pytest.param("GET", "/nothing", 404, "page not found", id="an unknown path"),
    ],
)
def test_refusals_have_dockers_words(client: FlaskClient, method: str, path: str, status: int, message: str | None) -> None:
    response = client.open(path, method=method)
    assert response.status_code == status
    assert message is None or response.get_json() == {"message": message}


def test_a_removal_by_force_of_a_volume_that_is_not_there_is_done(client: FlaskClient) -> None:
    assert client.delete("/volumes/x?force=1").status_code == 204


@pytest.mark.parametrize("path", ["/session", "/grpc"])
def test_a_connection_is_not_upgraded(client: FlaskClient, path: str) -> None:
    response = client.post(path, headers={"Connection": "Upgrade", "Upgrade": "h2c"})
    assert response.status_code == 501
    assert "Upgrade" not in response.headers
    assert response.get_json()["message"].startswith("Stowage is an image-only engine: ")


@pytest.mark.parametrize(
    ("path", "prefix"),
    [
        pytest.param("/containers/json", "", id="containers"),
        pytest.param("/volumes", "error reading volume filters: ", id="volumes"),
        pytest.param("/networks", "", id="networks"),
        pytest.param("/plugins", "", id="plugins"),
    ],
)
def test_filters_are_read_though_nothing_is_there_to_be_filtered(client: FlaskClient, path: str, prefix: str) -> None:
    for filters, message in (("{", f"{prefix}invalid filter"), (json.dumps({"x": ["y"]}), "invalid filter 'x'")):
        response = client.get(path, query_string={"filters": filters})
        assert (response.status_code, response.get_json()) == (400, {"message": message})
