"""Searches of an index in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, InvalidParameter
from stowage.services.filters import Filters
from stowage.services.images.search import search_images
from tests.engines import memory_budget, registry_client
from tests.fake_registry.index import FakeIndex

RESULTS = [
    {"name": "seven", "star_count": 7, "is_official": False},
    {"name": "thirty", "star_count": 30, "is_official": True},
    {"name": "none", "star_count": 0, "is_official": False},
]


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    with FakeIndex(results=RESULTS).serve() as running:
        yield running


@pytest.fixture
def searching(engine: Engine, index: FakeIndex) -> Engine:
    """An engine whose index of docker.io is the fake one."""
    return replace(engine, registry=registry_client(insecure=("127.0.0.0/8",), hub_index=index.base))


def names(engine: Engine, term: str = "app", filters: str = "", *, limit: int = 0) -> list[str]:
    return [found.name for found in search_images(engine, term, filters=Filters.parse(filters), limit=limit)]


@pytest.mark.parametrize(
    ("term", "asked"),
    [
        pytest.param("{host}/app", "app", id="host"),
        pytest.param("{host}/library/app", "library/app", id="library at another registry"),
        pytest.param("{host}/", "", id="host alone"),
        pytest.param("app", "app", id="docker.io"),
        pytest.param("team/app", "team/app", id="docker.io, with a slash"),
        pytest.param("library/app", "app", id="library of docker.io"),
        pytest.param("docker.io/library/app", "app", id="docker.io by name"),
        pytest.param("index.docker.io/team/app", "team/app", id="its index by name"),
        pytest.param("a.b", "a.b", id="a dot without a slash"),
        pytest.param("", "", id="nothing"),
    ],
)
def test_a_term_names_its_registry(searching: Engine, index: FakeIndex, term: str, asked: str) -> None:
    assert names(searching, term.format(host=index.host)) == ["seven", "thirty", "none"]
    assert [request.query["q"] for request in index.searches] == [[asked]]


@pytest.mark.parametrize("term", ["http://registry.example/app", "app://"])
def test_a_scheme_is_refused(searching: Engine, term: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        names(searching, term)
    assert str(caught.value) == f"invalid repository name: repository name ({term}) should not have a scheme"


@pytest.mark.parametrize(("limit", "asked"), [(0, "25"), (1, "1"), (100, "100")])
def test_the_limit_goes_to_the_index(searching: Engine, index: FakeIndex, limit: int, asked: str) -> None:
    names(searching, limit=limit)
    assert index.searches[0].query["n"] == [asked]


@pytest.mark.parametrize("limit", [-1, 101])
def test_a_limit_out_of_range_is_refused_before_anything_is_asked(searching: Engine, index: FakeIndex, limit: int) -> None:
    with pytest.raises(InvalidParameter) as caught:
        names(searching, limit=limit)
    assert str(caught.value) == f"limit {limit} is outside the range of [1, 100]"
    assert index.requests == []


@pytest.mark.parametrize(
    ("filters", "kept"),
    [
        pytest.param('{"stars":["7"]}', ["seven", "thirty"], id="stars"),
        pytest.param('{"stars":["30","7"]}', ["thirty"], id="the most stars count"),
        pytest.param('{"stars":["-3"]}', ["seven", "thirty", "none"], id="fewer than none"),
        pytest.param('{"stars":[]}', ["seven", "thirty", "none"], id="no number of stars"),
        pytest.param('{"is-official":["true"]}', ["thirty"], id="official"),
        pytest.param('{"is-official":["0"]}', ["seven", "none"], id="not official"),
        pytest.param('{"is-automated":["false"]}', ["seven", "thirty", "none"], id="not automated"),
        pytest.param('{"is-official":["1"],"stars":["31"]}', [], id="both"),
    ],
)
def test_filters_keep_what_passes_all(searching: Engine, filters: str, kept: list[str]) -> None:
    assert names(searching, filters=filters) == kept


def test_nothing_is_automated(searching: Engine, index: FakeIndex) -> None:
    assert names(searching, filters='{"is-automated":["true"]}') == []
    assert index.requests == []


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ('{"name":["x"]}', "invalid filter 'name'"),
        ('{"is-official":["maybe"]}', "invalid filter 'is-official=[maybe]'"),
        ('{"is-official":["1","0"]}', "invalid filter 'is-official=[1 0]'"),
        ('{"is-automated":["yes"]}', "invalid filter 'is-automated=[yes]'"),
        ('{"stars":["many"]}', "invalid filter 'stars=many': strconv.Atoi: parsing \"many\": invalid syntax"),
    ],
)
def test_a_filter_without_sense_is_refused(searching: Engine, index: FakeIndex, filters: str, message: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        names(searching, filters=filters)
    assert str(caught.value) == message
    assert index.requests == []


def test_an_answer_is_decoded_only_if_there_is_memory_for_its_text(searching: Engine, index: FakeIndex) -> None:
    index.results = [{"name": "\N{GRINNING FACE}" + "a" * (1 << 20)}]
    assert len(names(replace(searching, memory=memory_budget(11 << 20)))[0]) == (1 << 20) + 1
    memory = memory_budget(8 << 20)
    with pytest.raises(Forbidden, match="bytes of memory at once"):
        names(replace(searching, memory=memory))
    assert memory.free == 8 << 20
