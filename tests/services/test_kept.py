"""Values that are kept for later requests."""

from __future__ import annotations

from stowage.services.kept import Kept


def test_the_values_that_were_used_last_are_kept() -> None:
    kept: Kept[str, int] = Kept(24)
    for number, key in enumerate("abcdefgh"):
        kept.put(key, number, 3)
    assert kept.get("a") == 0
    kept.put("i", 8, 2)
    assert [kept.get(key) for key in "abcdefghi"] == [0, None, 2, 3, 4, 5, 6, 7, 8]


def test_a_heavy_value_is_not_kept_and_displaces_nothing() -> None:
    kept: Kept[str, int] = Kept(24)
    kept.put("a", 0, 3)
    kept.put("b", 1, 4)
    assert (kept.get("a"), kept.get("b")) == (0, None)


def test_a_value_that_is_put_twice_weighs_once() -> None:
    kept: Kept[str, int] = Kept(24)
    for _ in range(100):
        kept.put("a", 0, 3)
    for key in "bcdefgh":
        kept.put(key, 1, 3)
    assert kept.get("a") == 0


def test_a_value_replaces_the_last_one_of_its_key() -> None:
    kept: Kept[str, int] = Kept(24)
    kept.put("a", 0, 3)
    kept.put("a", 1, 2)
    assert (kept.get("a"), kept.weight) == (1, 2)
    kept.put("a", 2, 4)
    assert (kept.get("a"), kept.weight) == (None, 0)
