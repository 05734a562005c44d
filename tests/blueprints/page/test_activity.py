"""What is going on, as JSON and as a page."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.blueprints.streaming import TRANSFERS
from stowage.services.engine import Engine
from stowage.services.metadata.records import Actor
from stowage.services.meter import PartCounts
from stowage.services.system.transfers import Running, Transfers
from tests.builders import Layout, make_layer, put_image

HOSTILE = '<script>alert(1)</script>\u202eevil"'


@pytest.fixture
def writable(engine: Engine, tmp_path: Path) -> Flask:
    return create_app(Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root"), "STOWAGE_UI": "write"}), build=lambda _: engine)


@pytest.fixture
def pull(app: Flask) -> Iterator[Running]:
    yield from _running(app)


@pytest.fixture
def writable_pull(writable: Flask) -> Iterator[Running]:
    yield from _running(writable)


@pytest.mark.parametrize(("operation", "words"), [("load", "an archive of 4MB, which names its images at its end"), ("push", "no name")])
def test_a_transfer_without_a_name_has_what_is_known(app: Flask, client: FlaskClient, operation: str, words: str) -> None:
    transfers: Transfers = app.extensions[TRANSFERS]
    running = Running(operation, PartCounts(), names=[], count=lambda: 0, received=lambda: 1_000_000, length=4_000_000)
    with transfers.running(running):
        assert words in client.get("/ui/activity").text


def test_times_are_for_people_with_the_exact_ones_as_titles(client: FlaskClient, engine: Engine) -> None:
    with engine.metadata.write() as tx:
        moment = time.time_ns() - 300 * 10**9
        tx.events.append(time=moment, event_type="image", action="pull", actor=Actor("app:1", {"name": "app:1"}))
    exact = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert re.search(rf'<time datetime="({exact})" title="\1">5 minutes ago</time>', client.get("/ui/activity").text)


def test_a_loaded_image_has_the_name_that_it_has_now(client: FlaskClient, engine: Engine) -> None:
    layout, other = Layout(), Layout()
    named = put_image(engine, "team/app:1", layout, layout.image([make_layer("one")]))
    nameless = put_image(engine, None, other, other.image([make_layer("two")]))
    for digest in (named, nameless, HOSTILE):
        _add_event(engine, "load", str(digest))
    rows = client.get("/ui/activity").text
    assert 'href="/ui/images/team/app:1"><bdi>team/app:1</bdi>' in rows and str(named)[7:19] in rows
    assert f'href="/ui/images/{nameless}"' in rows
    for first in ("", "0"):  # no event is before these
        assert "<bdi>team/app:1</bdi>" in client.get(f"/ui/activity/events?after={first}").text


def _running(app: Flask) -> Iterator[Running]:
    transfers: Transfers = app.extensions[TRANSFERS]
    parts = PartCounts()
    parts.expect({"a layer": 4_000_000})
    parts.reach("a layer", 1_000_000)
    running = Running(
        "pull",
        parts,
        names=["debian:13", HOSTILE],
        count=lambda: 5,
        received=lambda: 0,
        registry="docker.io",
        client="Docker-Client/26.1.5",
    )
    with transfers.running(running):
        yield running


def _add_event(engine: Engine, action: str = "pull", name: str = "debian:13", **attributes: str) -> None:
    with engine.metadata.write() as tx:
        tx.events.append(time=1_700_000_000 * 10**9, event_type="image", action=action, actor=Actor(name, {"name": name, **attributes}))


def test_transfers_as_json(client: FlaskClient, pull: Running) -> None:
    [shown] = client.get("/stowage/transfers").json or []
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", shown.pop("Started"))
    assert shown == {
        "Id": pull.id,
        "Operation": "pull",
        "Images": ["debian:13", HOSTILE],
        "ImageCount": 5,
        "Registry": "docker.io",
        "Client": "Docker-Client/26.1.5",
        "Done": 1_000_000,
        "Total": 4_000_000,
        "Rate": 0,
        "Left": None,
        "Parts": [{"Id": "a layer", "Done": 1_000_000, "Total": 4_000_000}],
        "Ending": False,
    }


def test_nothing_runs(client: FlaskClient) -> None:
    assert client.get("/stowage/transfers").json == []
    assert "Nothing is being pulled" in client.get("/ui/activity").text


def test_the_page_shows_transfers_and_hostile_names_as_text(client: FlaskClient, pull: Running) -> None:
    for path in ("/ui/activity", "/ui/activity/transfers"):
        page = client.get(path).text
        assert "debian:13" in page and "1MB of 4MB (25%)" in page and "and 3 more" in page and "Docker-Client/26.1.5" in page
        assert "<script>alert" not in page and "\u202e" not in page


def test_the_page_shows_the_last_events_and_then_only_newer_ones(client: FlaskClient, engine: Engine) -> None:
    for number in range(40):
        _add_event(engine, name=f"app:{number}")
    page = client.get("/ui/activity").text
    assert re.findall(r'data-event="(\d+)"', page) == [str(number) for number in range(40, 8, -1)]
    assert re.findall(r"<bdi>(app:\d+)</bdi>", client.get("/ui/activity/events?after=38").text) == ["app:39", "app:38"]
    assert client.get("/ui/activity/events?after=40").text.strip() == ""


def test_events_are_in_words_and_link_to_what_may_still_be_there(client: FlaskClient, engine: Engine) -> None:
    put_image(engine, "app:1", layout := Layout(), layout.image([make_layer("one")]))
    put_image(engine, "app:2", other := Layout(), other.image([make_layer("two")]))
    _add_event(engine, "tag", "app:1")
    _add_event(engine, "pull", "gone:1")
    _add_event(engine, "untag", "app:2")
    _add_event(engine, "load", HOSTILE)
    with engine.metadata.write() as tx:
        tx.events.append(time=0, event_type="image", action="prune", actor=Actor("", {"reclaimed": "1500000"}))
    page = client.get("/ui/activity").text
    assert 'href="/ui/images/app:1"' in page and 'href="/ui/images/app:2"' not in page
    assert "<bdi>gone:1</bdi>" in page and 'href="/ui/images/gone:1"' not in page
    assert "1.5MB freed" in page and "<script>alert" not in page


def test_a_page_that_reads_offers_no_end_and_refuses_one(client: FlaskClient, pull: Running) -> None:
    assert "End…" not in client.get("/ui/activity").text
    assert client.delete(f"/stowage/transfers/{pull.id}").status_code == 403
    assert client.get(f"/ui/activity/end/{pull.id}").status_code == 403
    assert client.post(f"/ui/activity/end/{pull.id}").status_code == 403
    assert not pull.is_ended


def test_a_page_that_writes_asks_first(writable: Flask, writable_pull: Running) -> None:
    client = writable.test_client()
    assert f'href="/ui/activity/end/{writable_pull.id}"' in client.get("/ui/activity").text
    question = client.get(f"/ui/activity/end/{writable_pull.id}").text
    [token] = re.findall(r'name="token" value="([^"]+)"', question)
    form, origin = {"token": token}, {"Origin": "http://localhost"}
    assert client.post(f"/ui/activity/end/{writable_pull.id}", data=form).status_code == 403  # no browser sent that
    assert client.post(f"/ui/activity/end/{writable_pull.id}", data={"token": "x"}, headers=origin).status_code == 403
    assert not writable_pull.is_ended
    answer = client.post(f"/ui/activity/end/{writable_pull.id}", data=form, headers=origin)
    assert (answer.status_code, answer.location, writable_pull.is_ended) == (303, "/ui/activity", True)
    assert "ending" in client.get("/ui/activity/transfers").text


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("pull", "What it has fetched is kept for a day"),
        ("push", "the registry no image"),
        ("load", "no image is loaded"),
        ("save", "ends early"),
        ("import", "no image is made"),
    ],
)
def test_the_question_says_what_happens_to_its_operation(writable: Flask, operation: str, words: str) -> None:
    transfers: Transfers = writable.extensions[TRANSFERS]
    running = Running(operation, PartCounts(), names=["app:1"], count=lambda: 1, received=lambda: 0)
    with transfers.running(running):
        assert words in writable.test_client().get(f"/ui/activity/end/{running.id}").text


def test_what_is_over_cannot_be_ended(writable: Flask) -> None:
    client = writable.test_client()
    assert client.delete("/stowage/transfers/0123456789abcdef").status_code == 404
    assert client.get("/ui/activity/end/0123456789abcdef").status_code == 404


def test_a_script_of_another_site_ends_nothing(writable: Flask, writable_pull: Running) -> None:
    path, foreign = f"/stowage/transfers/{writable_pull.id}", {"Origin": "https://evil.example"}
    assert writable.test_client().delete(path, headers=foreign).status_code == 403
    assert not writable_pull.is_ended
    assert writable.test_client().delete(path).status_code == 202
    assert writable_pull.is_ended
