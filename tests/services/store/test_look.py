"""What looks have found is cached, and looked for by one thread at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from stowage.services.store.look import Look, Turns, find_once


@dataclass(frozen=True)
class Answer:
    """Something that was found."""

    weight: int


def test_threads_that_look_for_the_same_find_it_once() -> None:
    together, found = threading.Barrier(5), list[Answer]()

    def find() -> tuple[Answer, bool]:
        found.append(Answer(10))
        return found[-1], True

    def look() -> None:
        together.wait()
        assert find_once("test: one image", Look(120), "the image", find) is found[0]

    threads = [threading.Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def test_what_is_incomplete_or_too_large_is_looked_for_again() -> None:
    for answer, is_complete in ((Answer(10), False), (Answer(1 << 30), True), (Answer(900), True)):
        assert find_once("test: an image", Look(120), "the image", lambda found=(answer, is_complete): found) is answer  # type: ignore[misc]
    assert find_once("test: an image", Look(120), "the image", lambda: (Answer(1), True)).weight == 900


def test_turns_that_nobody_takes_are_forgotten() -> None:
    turns = Turns()
    with turns.take("image", Look(120), "the image"):
        assert len(turns._locks) == 1
    assert len(turns._locks) == 0
