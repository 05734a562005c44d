"""Which events a listener gets, and when."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import takewhile

import pytest

from stowage.services.engine import Engine
from stowage.services.filters import Filters
from stowage.services.metadata.records import Actor, Event
from stowage.services.system.events import passes, watch_events

DIGEST = "sha256:" + "ab" * 32
PULL = Event(1, 1, "image", "pull", Actor("host:5000/team/app:2", {"name": "host:5000/team/app", "a": "b"}))
TAG = Event(2, 2, "image", "tag", Actor(DIGEST, {"name": "app:1", "empty": ""}))


@pytest.fixture
def now() -> list[int]:
    """The clock's time, to be set."""
    return [100]


@pytest.fixture
def timed(engine: Engine, now: list[int]) -> Engine:
    """An engine with the events 10, 20 and 30, each named as its time."""
    timed = replace(engine, clock=lambda: now[0])
    for time in (10, 20, 30):
        happen(timed, time)
    return timed


def happen(engine: Engine, time: int) -> None:
    with engine.metadata.write() as tx:
        tx.events.append(time=time, event_type="image", action=str(time), actor=Actor("", {}))


def watch(engine: Engine, *, since: int | None = None, until: int | None = None, filters: str = "") -> Iterator[Event | None]:
    return watch_events(engine, since=since, until=until, filters=Filters.parse(filters))


def told(events: Iterator[Event | None]) -> list[str]:
    """The actions until there is no more now."""
    return [event.action for event in takewhile(lambda event: event is not None, events) if event]


@pytest.mark.parametrize(
    ("since", "until", "actions"),
    [
        pytest.param(0, 99, ["10", "20", "30"], id="all"),
        pytest.param(20, 99, ["20", "30"], id="since, inclusive"),
        pytest.param(None, 20, ["10", "20"], id="until, inclusive"),
        pytest.param(11, 19, [], id="none"),
        pytest.param(0, 0, ["10", "20", "30"], id="until 0 shuts nothing out, as in moby"),
        pytest.param(None, -1, ["10", "20", "30"], id="nor does one below 0"),
    ],
)
def test_past_events_end_by_themselves(timed: Engine, since: int | None, until: int, actions: list[str]) -> None:
    assert [event and event.action for event in watch(timed, since=since, until=until)] == actions


def test_without_times_only_what_comes_is_told(timed: Engine) -> None:
    events = watch(timed)
    assert told(events) == []
    happen(timed, 40)
    happen(timed, 50)
    assert told(events) == ["40", "50"]
    assert told(events) == []


def test_a_beginning_brings_the_history_and_then_whatever_comes(timed: Engine) -> None:
    events = watch(timed, since=20)
    assert told(events) == ["20", "30"]
    happen(timed, 15)  # a clock that was set back hides nothing
    assert told(events) == ["15"]


def test_an_end_in_the_future_is_waited_for(timed: Engine, now: list[int]) -> None:
    events = watch(timed, since=30, until=200)
    assert told(events) == ["30"]
    happen(timed, 150)
    happen(timed, 201)
    now[0] = 201
    assert [event and event.action for event in events] == ["150"]


def test_a_long_history_is_told_whole(timed: Engine) -> None:
    with timed.metadata.write() as tx:
        for number in range(1000):
            tx.events.append(time=50, event_type="image", action=str(number), actor=Actor("", {}))
    assert [event and event.action for event in watch(timed, since=40, until=60)] == [str(number) for number in range(1000)]


def test_filters_hold_for_the_history_and_for_what_comes(timed: Engine) -> None:
    events = watch(timed, since=0, filters='{"event":["20","40"]}')
    assert told(events) == ["20"]
    happen(timed, 40)
    happen(timed, 50)
    assert told(events) == ["40"]


@pytest.mark.parametrize(
    ("event", "filters", "expected"),
    [
        pytest.param(PULL, "{}", True, id="none"),
        pytest.param(PULL, '{"event":["pull","push"]}', True, id="one of the actions"),
        pytest.param(PULL, '{"event":["pul"]}', False, id="an action is whole"),
        pytest.param(PULL, '{"event":["pul","health_status"]}', True, id="but not beside those that have a rest"),
        pytest.param(PULL, '{"event":{"pull":false}}', False, id="a value that is false"),
        pytest.param(PULL, '{"event":[]}', True, id="no value"),
        pytest.param(PULL, '{"type":["image"]}', True, id="type"),
        pytest.param(PULL, '{"type":["container"]}', False, id="other type"),
        pytest.param(PULL, '{"scope":["local"]}', True, id="scope"),
        pytest.param(PULL, '{"scope":["swarm"]}', False, id="other scope"),
        pytest.param(PULL, '{"container":["web"]}', False, id="container"),
        pytest.param(PULL, '{"container":["host:5000"]}', True, id="a container that begins as the image, as in moby"),
        pytest.param(PULL, '{"daemon":["d"]}', False, id="daemon"),
        pytest.param(PULL, '{"nonsense":["x"]}', True, id="an unknown name is ignored"),
        pytest.param(PULL, '{"image":["host:5000/team/app:2"]}', True, id="image by its reference"),
        pytest.param(PULL, '{"image":["host:5000/team/app"]}', True, id="image by its name"),
        pytest.param(PULL, '{"image":["host:5000/team/app:1"]}', False, id="image by another tag"),
        pytest.param(TAG, f'{{"image":["{DIGEST}"]}}', True, id="image by its ID"),
        pytest.param(TAG, '{"image":["app"]}', True, id="image without the tag"),
        pytest.param(TAG, '{"image":["other"]}', False, id="other image"),
        pytest.param(PULL, '{"label":["a"]}', True, id="label"),
        pytest.param(PULL, '{"label":["a=b"]}', True, id="label and value"),
        pytest.param(PULL, '{"label":["a=c"]}', False, id="other value"),
        pytest.param(PULL, '{"label":["a","nope"]}', False, id="every label"),
        pytest.param(TAG, '{"label":["empty="]}', True, id="empty value"),
        pytest.param(PULL, '{"event":["pull"],"type":["image"],"label":["nope"]}', False, id="every filter"),
    ],
)
def test_filters(event: Event, filters: str, expected: bool) -> None:
    assert passes(event, Filters.parse(filters)) is expected
