"""What looks have found is kept, and looked for by one thread at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from stowage.services.store.look import KeptLooks, Look


@dataclass(frozen=True)
class Answer:
    """Something that was found."""

    weight: int
    is_complete: bool


def test_threads_that_look_for_the_same_find_it_once() -> None:
    kept: KeptLooks[Answer] = KeptLooks(1000)
    together, found = threading.Barrier(5), list[Answer]()

    def find() -> Answer:
        found.append(Answer(10, is_complete=True))
        return found[-1]

    def look() -> None:
        together.wait()
        assert kept.get("image", Look(120), "the image", find) is found[0]

    threads = [threading.Thread(target=look) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 1


def test_what_is_incomplete_or_too_large_is_looked_for_again() -> None:
    kept: KeptLooks[Answer] = KeptLooks(1000)
    for answer in (Answer(10, is_complete=False), Answer(2000, is_complete=True), Answer(900, is_complete=True)):
        assert kept.get("image", Look(120), "the image", lambda answer=answer: answer) is answer  # type: ignore[misc]
    assert kept.get("image", Look(120), "the image", lambda: Answer(1, is_complete=True)).weight == 900
