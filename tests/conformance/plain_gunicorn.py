"""gunicorn from its own command line, serving `wsgi:app` as it serves any application."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.conftest import REPOSITORY, Service, listens, wait_for

GUNICORN = (sys.executable, "-m", "gunicorn", "--no-control-socket", "--workers", "2", "--graceful-timeout", "1")
THREADS = ("--worker-class", "gthread", "--threads", "4")


@dataclass
class Gunicorn(Service):
    """A service of plain gunicorn with two workers on a new store or the one that is there; `options` are gunicorn's own."""

    options: tuple[str, ...] = THREADS

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def workers(self) -> set[int]:
        """The processes that the master has forked and that have not ended."""
        return {int(child) for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()}

    def launch(self) -> subprocess.Popen[bytes]:
        """Start it, and wait for nothing."""
        command = [*GUNICORN, "--bind", f"127.0.0.1:{self.port}", *self.options, "wsgi:app"]
        environment = {**os.environ, "STOWAGE_ROOT": str(self.root), **self.environment}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log, start_new_session=True)
        return self.process

    def start(self) -> None:
        process = self.launch()
        wait_for(lambda: listens(self.port) and len(self.workers()) == 2, process, f"gunicorn (log: {self.log})")
