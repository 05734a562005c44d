"""Images to delete so that a number of bytes come free."""

from __future__ import annotations

import random

import pytest

from stowage.services.engine import Engine
from stowage.services.system import suggestion
from stowage.services.system.freed import count_freed
from stowage.services.system.suggestion import Strategy, list_deletable, suggest_amount, suggest_deletions
from tests.services.system.conftest import put

KB = 1000


def names(engine: Engine, wanted: int, strategy: Strategy) -> list[str]:
    """The first name of each image that is suggested, "" of one without."""
    found = suggest_deletions(engine, wanted=wanted, strategy=strategy).freed.images
    return [image.repo_tags[0] if image.repo_tags else "" for image in list_deletable(engine, found, strategy)]


@pytest.mark.parametrize(
    ("wanted", "suggested"),
    [
        (0, []),
        (4 * KB, ["alone:1"]),
        (12 * KB, ["app:1"]),
        (22 * KB, ["app:2"]),
        (35 * KB, ["app:2", "app:1"]),
        (110 * KB, ["app:2", "app:1", "base:1"]),
        (1 << 40, ["app:2", "app:1", "alone:1", "base:1"]),
    ],
)
def test_few_images_are_suggested_and_the_smallest_that_are_enough(filled: Engine, wanted: int, suggested: list[str]) -> None:
    assert names(filled, wanted, Strategy.LARGEST) == suggested
    assert suggest_deletions(filled, wanted=wanted, strategy=Strategy.LARGEST).freed.bytes == count_freed(filled, suggested).bytes


def test_two_images_that_have_all_their_bytes_in_common_are_found(filled: Engine) -> None:
    put(filled, "model:1", {"weights": 400 * KB})
    put(filled, "model:2", {"weights": 400 * KB})
    assert names(filled, 200 * KB, Strategy.LARGEST) == ["model:1", "model:2"]


@pytest.mark.parametrize("seed", range(8))
def test_a_suggestion_is_enough_if_anything_is_and_has_nothing_needless(engine: Engine, seed: int) -> None:
    source = random.Random(seed)
    sizes = {f"layer{number}": source.randrange(1, 60) * KB for number in range(10)}
    for number in range(12):
        put(engine, f"app{number}:1", {label: sizes[label] for label in source.sample(sorted(sizes), source.randrange(1, 4))})
    every = suggest_deletions(engine, wanted=1 << 40, strategy=Strategy.LARGEST).freed
    assert len(every.images) == 12
    for wanted in (every.bytes // 10, every.bytes // 3, every.bytes - 1):
        images = [str(image) for image in suggest_deletions(engine, wanted=wanted, strategy=Strategy.LARGEST).freed.images]
        assert count_freed(engine, images).bytes >= wanted
        assert all(count_freed(engine, [other for other in images if other != each]).bytes < wanted for each in images)


def test_the_oldest_are_taken_in_their_order(engine: Engine) -> None:
    for year in (2019, 2015, 2021):
        put(engine, f"shop:{year}", {str(year): 10 * KB}, created=f"{year}-01-01T00:00:00Z")
    put(engine, "shop:2017", {"large": 90 * KB}, created="2017-01-01T00:00:00Z")
    assert names(engine, 80 * KB, Strategy.OLDEST) == ["shop:2015", "shop:2017"]


def test_an_old_image_that_frees_next_to_nothing_is_left_out(engine: Engine) -> None:
    put(engine, "old:1", {"old": 10 * KB}, created="2015-01-01T00:00:00Z")
    put(engine, "old:2", {"old": 10 * KB, "large": 900 * KB}, created="2016-01-01T00:00:00Z")
    put(engine, "new:1", {"old": 10 * KB}, created="2020-01-01T00:00:00Z")
    assert 0 < count_freed(engine, ["old:1"]).bytes < 5 * KB
    assert names(engine, 800 * KB, Strategy.OLDEST) == ["old:2"]


@pytest.mark.parametrize("created", ["1970-01-01T00:00:00Z", "1970-01-01T00:00:01Z", "1980-01-01T00:00:00Z", "0001-01-01T00:00:00Z"])
def test_a_date_before_there_were_images_is_not_old(engine: Engine, created: str) -> None:
    put(engine, "reproducible:1", {"reproducible": 10 * KB}, created=created)
    put(engine, "old:1", {"old": 10 * KB}, created="2015-01-01T00:00:00Z")
    assert names(engine, 5 * KB, Strategy.OLDEST) == ["old:1"]
    assert len(names(engine, 1 << 40, Strategy.OLDEST)) == 2


def test_those_without_a_name_are_suggested(filled: Engine) -> None:
    put(filled, None, {"nameless": 100})
    assert names(filled, 1 << 40, Strategy.UNTAGGED) == [""]


def test_others_can_be_chosen(filled: Engine) -> None:
    found = suggest_deletions(filled, wanted=4 * KB, strategy=Strategy.LARGEST)
    assert len(found.more) == 3 and not set(found.more) & set(found.freed.images)


def test_a_suggestion_says_that_it_did_not_look_at_every_image(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not suggest_deletions(filled, wanted=1 << 40, strategy=Strategy.LARGEST).is_partial
    monkeypatch.setattr(suggestion, "MOST_IMAGES", 3)
    monkeypatch.setattr(suggestion, "_AT_ONCE", 2)
    found = suggest_deletions(filled, wanted=1 << 40, strategy=Strategy.LARGEST)
    assert found.is_partial and len(found.freed.images) == 3


def test_more_images_are_looked_at_until_it_is_enough(filled: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestion, "_AT_ONCE", 1)
    assert len(suggest_deletions(filled, wanted=110 * KB, strategy=Strategy.LARGEST).freed.images) == 3


@pytest.mark.parametrize(
    ("size", "amount"),
    [(100, 1_000_000), (10_000_000, 2_000_000), (22_000_000, 5_000_000), (39_900_000, 5_000_000), (41_000_000, 10_000_000)],
)
def test_the_amount_to_free_is_a_part_of_what_there_is(engine: Engine, size: int, amount: int) -> None:
    put(engine, "app:1", {"app": size})
    assert suggest_amount(engine) == amount
