"""SIGKILL in the middle of storing, naming, untagging and sweeping: the store passes verify, and what was acknowledged is there."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stowage.services.engine import Engine
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.verify import FindingKind, verify_store
from stowage.services.metadata.store import upgrade
from tests.engines import PLATFORM
from tests.listings import all_records
from tests.services.gc.churn import open_store

ROUNDS = 3
PROCESSES = 2


@pytest.fixture
def root(tmp_path: Path) -> Path:
    upgrade(f"sqlite:///{tmp_path}/stowage.db", PLATFORM)
    return tmp_path


def test_processes_killed_at_any_instant_leave_a_whole_store(root: Path) -> None:
    chance = random.Random()
    acknowledged: dict[str, set[str]] = {}
    for _ in range(ROUNDS):
        processes = {prefix: _start(root, prefix, chance) for prefix in map(str, range(PROCESSES))}
        for prefix, process in processes.items():
            _follow(process, acknowledged.setdefault(prefix, set()), lines=chance.randrange(20, 60))
        for process in processes.values():
            process.kill()
        for prefix, process in processes.items():
            _follow(process, acknowledged[prefix])
            assert process.wait() == -signal.SIGKILL, "it ended by itself before it was killed"
        _check(root, set().union(*acknowledged.values()))
    _clear(root)


def _start(root: Path, prefix: str, chance: random.Random) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.services.gc.churn", str(root), prefix, str(chance.random())]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _follow(process: subprocess.Popen[str], acknowledged: set[str], lines: int = sys.maxsize) -> None:
    """Read what the process says, up to so many lines: which names must be there afterwards."""
    assert process.stdout is not None
    for _, line in zip(range(lines), process.stdout):  # noqa: B905
        match line.split():
            case ["done", "put", name]:
                acknowledged.add(name)
            case ["begin", "untag", name]:
                acknowledged.discard(name)
    if lines == sys.maxsize:
        process.stdout.close()


def _check(root: Path, acknowledged: set[str]) -> None:
    engine = open_store(root)
    damage = [finding.sentence for finding in verify_store(engine.metadata, engine.content) if finding.kind is FindingKind.DAMAGE]
    assert damage == []
    assert acknowledged <= {record.name for record in all_records(engine.metadata)}
    _close(engine)


def _clear(root: Path) -> None:
    """With every name gone and every lease abandoned, one collection leaves no row."""
    connection = sqlite3.connect(root / "stowage.db")
    connection.execute("UPDATE lease SET alive_until = 0")
    connection.execute("DELETE FROM image")
    connection.commit()
    connection.close()
    engine = open_store(root)
    collect_garbage(engine.metadata, engine.content)
    with engine.metadata.read() as tx:
        assert tx.graph.all_blobs() == {}
    assert list(engine.content.partials()) == []
    _close(engine)


def _close(engine: Engine) -> None:
    engine.metadata.close()
