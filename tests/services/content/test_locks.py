"""Locks on files that come and go."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path

import pytest

from stowage.services.content.locks import is_locked, try_lock, wait_lock
from stowage.services.errors import Internal


def test_a_held_lock_is_not_got_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with try_lock(path) as first, try_lock(path) as second:
        assert (first, second) == (True, False)
        assert is_locked(path)
    assert not is_locked(path)


def test_the_file_lives_as_long_as_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with try_lock(path):
        assert path.exists()
    assert not path.exists()


def test_a_failing_holder_lets_go(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    try:
        with wait_lock(path):
            raise InterruptedError
    except InterruptedError:
        assert not path.exists()


def test_a_file_left_unlocked_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    assert not is_locked(path)
    with try_lock(path) as held:
        assert held
    assert not path.exists()


def test_only_one_of_many_threads_is_inside(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    inside: list[int] = []
    most: list[int] = []

    def enter(number: int) -> None:
        for _ in range(200):
            with try_lock(path) as held:
                if held:
                    inside.append(number)
                    most.append(len(inside))
                    inside.remove(number)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(most) == {1}
    assert not path.exists()


def test_a_file_system_without_locks_is_an_error_of_the_store_and_costs_no_handle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(_handle: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    path = tmp_path / "lock"
    path.touch()
    before = os.listdir("/proc/self/fd")
    with pytest.raises(Internal, match="No locks available"), try_lock(path):
        pass
    with pytest.raises(Internal, match="No locks available"):
        is_locked(path)
    assert os.listdir("/proc/self/fd") == before
