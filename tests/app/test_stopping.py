"""A signal ends a command wherever it is when the signal arrives."""

from __future__ import annotations

import signal
import subprocess
import sys

STOPPED_IN_A_DESTRUCTOR = """
import os, signal
from stowage.app import stopping

class Dropped:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        for _ in range(1000):
            pass

stopping.raise_stopped("nothing was cut")
Dropped()
print("went on")
"""


def test_where_python_ignores_exceptions() -> None:
    ended = subprocess.run([sys.executable, "-c", STOPPED_IN_A_DESTRUCTOR], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (128 + signal.SIGTERM, "", "stowage: stopped by SIGTERM; nothing was cut\n")
