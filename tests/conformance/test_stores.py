"""The table of modules and stores, which says nothing of modules that are not there."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.stores import EVERY, STORES


def test_every_module_of_the_table_is_here_and_runs_on_stores_that_there_are() -> None:
    folder = Path(__file__).parent
    assert [name for name in STORES if not (folder / f"{name}.py").is_file()] == []
    assert {store for stores in STORES.values() for store in stores} == set(EVERY)
