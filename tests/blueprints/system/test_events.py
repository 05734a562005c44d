"""GET /events."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.metadata.records import Actor

SECOND = 1_000_000_000


@pytest.fixture(autouse=True)
def events(engine: Engine) -> None:
    """A tag at 5.000000007 and a pull at 6 seconds."""
    with engine.metadata.write() as tx:
        tx.events.append(time=5 * SECOND + 7, event_type="image", action="tag", actor=Actor("sha256:a", {"name": "app:1"}))
        tx.events.append(time=6 * SECOND, event_type="image", action="pull", actor=Actor("app:1", {"name": "app", "a": "b"}))


TAG = {
    "Type": "image",
    "Action": "tag",
    "Actor": {"ID": "sha256:a", "Attributes": {"name": "app:1"}},
    "scope": "local",
    "time": 5,
    "timeNano": 5_000_000_007,
}


def test_an_event_has_the_shape_of_docker(client: FlaskClient) -> None:
    answer = client.get("/v1.52/events?until=5.5")
    assert (answer.status_code, answer.get_data()[-1:], answer.get_json(force=True)) == (200, b"\n", TAG)


def test_old_clients_get_the_action_and_the_id_twice(client: FlaskClient) -> None:
    assert client.get("/v1.51/events?until=5.5").get_json(force=True) == TAG | {"status": "tag", "id": "sha256:a"}


@pytest.mark.parametrize(
    ("query", "actions"),
    [
        pytest.param("since=0&until=9", ["tag", "pull"], id="all"),
        pytest.param("since=6&until=9", ["pull"], id="since"),
        pytest.param("until=5.000000007", ["tag"], id="until, to the nanosecond"),
        pytest.param("until=5.000000006999", [], id="digits after the ninth are dropped"),
        pytest.param('since=&until=9&filters={"event":["pull"]}', ["pull"], id="filters"),
        pytest.param('until=9&filters={"label":{"a=b":true}}', ["pull"], id="label"),
        pytest.param('until=9&filters={"container":["x"]}', [], id="container"),
    ],
)
def test_past_events(client: FlaskClient, query: str, actions: list[str]) -> None:
    lines = client.get(f"/events?{query}").get_data().splitlines()
    assert [json.loads(line)["Action"] for line in lines] == actions


@pytest.mark.parametrize(
    ("query", "words"),
    [
        pytest.param(
            "since=now", """invalid value for 'since': invalid timestamp "now": invalid seconds "now": invalid syntax""", id="word"
        ),
        pytest.param(
            "until=1m", """invalid value for 'until': invalid timestamp "1m": invalid seconds "1m": invalid syntax""", id="duration"
        ),
        pytest.param(
            "until=1.2x",
            """invalid value for 'until': invalid timestamp "1.2x": invalid nanoseconds: invalid character 'x' at position 1""",
            id="fraction",
        ),
        pytest.param("since=9.5&until=9", "`since` time (9.5) cannot be after `until` time (9)", id="backwards"),
        pytest.param("until=9&filters=x", "invalid filter", id="filters"),
    ],
)
def test_what_makes_no_sense_is_refused(client: FlaskClient, query: str, words: str) -> None:
    answer = client.get(f"/events?{query}")
    assert (answer.status_code, answer.get_json()) == (400, {"message": words})


@pytest.mark.parametrize(
    ("version", "accept", "content_type"),
    [
        pytest.param("1.51", None, "application/json", id="old"),
        pytest.param("1.52", None, "application/jsonl", id="new"),
        pytest.param("1.51", "application/x-ndjson", "application/x-ndjson", id="old clients may ask as well"),
        pytest.param("1.52", "application/json-seq", "application/json-seq", id="sequence"),
        pytest.param("1.52", "application/json", "application/jsonl", id="json is no stream"),
        pytest.param("1.51", "*/*, application/*", "application/json", id="wildcards"),
        pytest.param("1.52", "application/x-ndjson;q=0.5, application/json-seq ; q=0.7", "application/json-seq", id="quality"),
        pytest.param("1.52", "application/json-seq,application/x-ndjson", "application/x-ndjson", id="equals, in the server's order"),
        pytest.param("1.51", "application/jsonl;q=0", "application/json", id="refused"),
        pytest.param("1.51", "text/html;level=1, application/jsonl", "application/json", id="other parameters end the header"),
    ],
)
def test_the_type_of_the_stream(client: FlaskClient, version: str, accept: str | None, content_type: str) -> None:
    answer = client.get(f"/v{version}/events?until=9", headers={"Accept": accept} if accept else {})
    assert answer.content_type == content_type
    separator = b"\x1e" if content_type == "application/json-seq" else b""
    assert [line[:2] for line in answer.get_data().splitlines()] == [(separator + b'{"')[:2]] * 2
