"""The parent of the workers: gunicorn's arbiter, which stops as users of a terminal and of a service manager expect.

Ctrl-C, SIGTERM and SIGHUP all mean the same: listen no more, give running requests some seconds, end. Another signal meanwhile ends them
at once. A terminal sends its signals to the workers too, which leave them to this process (`worker.py`).
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time

from gunicorn import arbiter, sock, systemd

from stowage.app.server.connections import is_health
from stowage.app.server.notices import end_line, notify
from stowage.app.stopping import SIGNALS

_WORKER_SIGNALS = {signal.SIGTERM, signal.SIGQUIT}
_LOOK_SECONDS = 0.05
_QUIET_SECONDS = 1.0
"""How long a stop may take before the reason is shown."""
_MARGIN_SECONDS = 5.0
"""For a worker on a busy machine to give up its requests and end."""


class Arbiter(arbiter.Arbiter):
    """gunicorn's arbiter with its own way to stop."""

    LISTENERS: list[sock.BaseSocket]
    stopped_by: int | None = None
    """The signal that asked the service to stop."""

    def init_signals(self) -> None:
        """Handle signals, except those that are ignored from the start, as under nohup."""
        ignored = [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN]
        super().init_signals()
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)

    def spawn_worker(self) -> int:
        """Fork a worker. The signals that end one wait until it handles them: meanwhile its handlers are those of this process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _WORKER_SIGNALS)
        try:
            pid: int = super().spawn_worker()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WORKER_SIGNALS)
        return pid

    def murder_workers(self) -> None:
        """Called every second: end workers that hang, and tell systemd, if it watches, that this process does not (sd_notify(3))."""
        super().murder_workers()
        if "WATCHDOG_USEC" in os.environ:
            systemd.sd_notify("WATCHDOG=1", self.log)

    def handle_term(self) -> None:
        self._stop_by(signal.SIGTERM)

    def handle_int(self) -> None:
        end_line()
        self._stop_by(signal.SIGINT)

    def handle_hup(self) -> None:
        self._stop_by(signal.SIGHUP)

    def _stop_by(self, number: int) -> None:
        self.stopped_by = number
        raise StopIteration

    def stop(self, graceful: bool = True) -> None:
        """Stop listening, and end the workers: after their requests, or at once if that takes too long or a second signal arrives.

        Until then the health address answers that the service is not ready.
        """
        self._close([listener for listener in self.LISTENERS if not is_health(listener)])
        if graceful:
            self.kill_workers(signal.SIGTERM)
            self._await_workers()
        if self.WORKERS:
            notify("running requests are cut")
        self.kill_workers(signal.SIGKILL)
        while self.WORKERS:
            self._reap(0)
        self._close(self.LISTENERS)

    def _close(self, listeners: list[sock.BaseSocket]) -> None:
        """Stop listening on these."""
        sock.close_sockets(listeners, unlink=self.reexec_pid == 0 and not self.systemd)
        self.LISTENERS = [listener for listener in self.LISTENERS if listener not in listeners]

    def _await_workers(self) -> None:
        """Wait until the workers have ended, their time is over, or another signal arrives."""
        began, told = time.monotonic(), False
        while self._reap(os.WNOHANG) and time.monotonic() - began < self.cfg.graceful_timeout + _MARGIN_SECONDS:
            if not told and time.monotonic() - began > _QUIET_SECONDS:
                told = True
                notify(f"waiting up to {self.cfg.graceful_timeout} seconds for running requests; another Ctrl-C or SIGTERM cuts them")
            with contextlib.suppress(queue.Empty):
                if self.SIG_QUEUE.get(timeout=_LOOK_SECONDS) in {*SIGNALS, signal.SIGQUIT}:
                    return

    def _reap(self, options: int) -> bool:
        """Note which workers have ended, and return whether any is left."""
        with contextlib.suppress(ChildProcessError):
            while self.WORKERS and (pid := os.waitpid(-1, options)[0]):
                if worker := self.WORKERS.pop(pid, None):
                    worker.tmp.close()
            return bool(self.WORKERS)
        self.WORKERS.clear()
        return False
