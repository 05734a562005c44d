"""A signal that comes while `stowage run` starts leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

SIGNALLED_AT_THE_LOG = """
import os, signal, sys, tempfile
from stowage.app import stopping

stopping.end_at_once()
from stowage.app.cli import main

def signalled(*arguments, opened=tempfile.TemporaryFile, **more):
    os.kill(os.getpid(), signal.SIGTERM)
    return opened(*arguments, **more)

tempfile.TemporaryFile = signalled
sys.argv = ["stowage", "run", "--", "echo", "not run"]
sys.exit(main())
"""


def test_a_signal_when_the_log_is_opened(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "STOWAGE_ROOT": str(tmp_path / "images")}
    program = [sys.executable, "-c", SIGNALLED_AT_THE_LOG]
    ended = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "")
    assert ended.stderr == "stowage: ended by SIGTERM before the command was run.\n"
    assert set(os.listdir(tmp_path)) <= {"images"}
