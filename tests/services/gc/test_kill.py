"""SIGKILL in the middle of storing, naming, untagging and sweeping: the store passes verify, and what was acknowledged is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

from sqlalchemy import text

from stowage.services.engine import Engine
from stowage.services.gc.collector import collect_garbage
from stowage.services.gc.verify import FindingKind, verify_store
from tests.engines import ON_EVERY_DATABASE
from tests.listings import all_records
from tests.services.gc.churn import open_store

ROUNDS = 3
PROCESSES = 2


@ON_EVERY_DATABASE
def test_processes_killed_at_any_instant_leave_a_whole_store(tmp_path: Path, database_url: str) -> None:
    root = tmp_path / "root"
    chance = random.Random()
    acknowledged: dict[str, set[str]] = {}
    for _ in range(ROUNDS):
        processes = {prefix: _start(root, database_url, prefix, chance) for prefix in map(str, range(PROCESSES))}
        for prefix, process in processes.items():
            _follow(process, acknowledged.setdefault(prefix, set()), lines=chance.randrange(20, 60))
        for process in processes.values():
            process.kill()
        for prefix, process in processes.items():
            _follow(process, acknowledged[prefix])
            assert process.wait() == -signal.SIGKILL, "it ended by itself before it was killed"
        _check(open_store(root, database_url), set().union(*acknowledged.values()))
    _clear(open_store(root, database_url))


def _start(root: Path, url: str, prefix: str, chance: random.Random) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.services.gc.churn", str(root), url, prefix, str(chance.random())]
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


def _check(engine: Engine, acknowledged: set[str]) -> None:
    damage = [finding.sentence for finding in verify_store(engine.metadata, engine.content) if finding.kind is FindingKind.DAMAGE]
    assert damage == []
    assert acknowledged <= {record.name for record in all_records(engine.metadata)}
    engine.metadata.close()


def _clear(engine: Engine) -> None:
    """With every name gone and every lease abandoned, one collection leaves no row."""
    with engine.metadata.write() as tx:
        for statement in ("UPDATE lease SET alive_until = 0", "DELETE FROM image"):
            tx.graph._connection.execute(text(statement))
    collect_garbage(engine.metadata, engine.content)
    with engine.metadata.read() as tx:
        assert tx.graph.all_blobs() == {}
    assert list(engine.content.partials()) == []
    engine.metadata.close()
