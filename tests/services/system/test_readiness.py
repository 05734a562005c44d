"""What keeps the service from serving, and how often that is looked at."""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Internal
from stowage.services.system import readiness
from stowage.services.system.readiness import Readiness, find_problems
from tests.waiting import poll


def test_a_store_that_works_has_no_problem_and_keeps_no_trace(engine: Engine, tmp_path: Path) -> None:
    assert find_problems(engine) == []
    assert [*(tmp_path / "root" / "ingest").iterdir(), *(tmp_path / "root" / "locks").iterdir()] == []


@pytest.mark.parametrize("folder", ["blobs", "ingest", "locks"])
def test_a_folder_that_is_gone_is_a_problem(engine: Engine, tmp_path: Path, folder: str) -> None:
    (tmp_path / "root" / folder).rmdir()
    assert find_problems(engine) == ["The content store cannot take a blob: No such file or directory."]


def test_a_file_in_the_place_of_the_blobs_is_a_problem(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "root" / "blobs").rmdir()
    (tmp_path / "root" / "blobs").write_text("")
    assert find_problems(engine) == ["The content store cannot take a blob: Not a directory."]


def test_a_database_that_is_gone_is_a_problem_though_it_is_still_open(engine: Engine, tmp_path: Path) -> None:
    assert find_problems(engine) == []
    (tmp_path / "root" / "stowage.db").rename(tmp_path / "elsewhere")
    assert find_problems(engine) == ["The database does not answer: No such file or directory."]


def test_each_problem_has_its_sentence(engine: Engine, tmp_path: Path) -> None:
    engine.metadata.close()
    shutil.rmtree(tmp_path / "root")
    assert [problem.partition(":")[0] for problem in find_problems(engine)] == [
        "The database does not answer",
        "The content store cannot take a blob",
    ]


def test_a_full_disk_is_a_problem(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.content.ingests.open_partial", lambda _: os.open("/dev/full", os.O_RDWR | os.O_CLOEXEC))
    assert find_problems(engine) == ["The content store cannot take a blob: No space left on device."]


def test_little_free_space_is_a_problem(engine: Engine) -> None:
    free = engine.content.free()
    assert free > 0
    scarce = replace(engine, limits=replace(engine.limits, least_free=1 << 60))
    (problem,) = find_problems(scarce)
    assert problem.startswith("The content store has little space: ")
    assert problem.endswith(f" bytes are free, and STOWAGE_LEAST_FREE is {1 << 60}.")


class Check:
    """A check that counts its calls and may be held up."""

    def __init__(self) -> None:
        self.calls = 0
        self.problems = ["first"]
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self) -> list[str]:
        self.calls += 1
        self.may_end.wait(20)
        return self.problems


def test_an_outcome_is_reused_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    check = Check()
    ready = Readiness(check)
    assert [ready.problems(), ready.problems(), check.calls] == [["first"], ["first"], 1]
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0)
    check.problems = []
    assert [ready.problems(), check.calls] == [[], 2]


def test_a_check_that_hangs_is_a_problem_and_is_not_begun_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "PATIENCE_SECONDS", 0.05)
    monkeypatch.setattr(readiness, "FRESH_SECONDS", 0)
    check = Check()
    check.may_end.clear()
    ready = Readiness(check)
    late = ["The store has not answered for 0.05 seconds."]
    assert [ready.problems(), ready.problems(), check.calls] == [late, late, 1]
    check.may_end.set()
    poll(lambda: ready.problems() == ["first"])


def test_a_check_that_fails_unexpectedly_is_a_problem() -> None:
    def fail() -> list[str]:
        raise KeyError("x")

    assert Readiness(fail).problems() == ["The check of the store failed: 'x'."]


def test_an_engine_that_cannot_be_built_is_a_problem() -> None:
    def fail() -> list[str]:
        raise Internal("no database")

    assert Readiness(fail).problems() == ["The check of the store failed: no database."]
