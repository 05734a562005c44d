"""Run a command with a service of its own.

The command stays in the process group and the terminal of this process, so that Ctrl-C, Ctrl-Z and job control work as without it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import NamedTuple

from stowage.app.private_service import PrivateService
from stowage.app.settings import Config, ConfigError
from stowage.app.stopping import end_with_parent

_NOT_STARTED, _CANNOT_RUN, _NOT_FOUND, _SIGNALLED = 125, 126, 127, 128
_START_SECONDS = 120
_POLL_SECONDS = 0.05
_LOG_BYTES = 8192
_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_TLS_VARIABLES = ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
"""Variables that make clients ask for certificates even on a unix socket. DOCKER_CONTEXT may stay: DOCKER_HOST has precedence."""


class _Log(NamedTuple):
    """The descriptor of the service's log, and where in the file it begins."""

    descriptor: int
    start: int


def run_with_service(config: Config, command: list[str], *, log_file: str | None) -> int:
    """Start a service, run the command, stop the service, and return the status to end with.

    That is the command's: 128 and its number after a signal, 126 or 127 if it cannot be run; or 125 if the service does not start. Signals
    stay blocked. Raises ConfigError if there is no place for the log or the socket.
    """
    signals, mask = _block_signals()
    log = _open_log(log_file)
    service = PrivateService.start(config, log.descriptor)
    try:
        status = _wait_until_ready(service, signals, log)
        if status != 0:
            return status
        status = _run_command(command, _environment(config, service), signals, mask)
    finally:
        service.stop()
    if service.ended_by_itself:
        _print_log(log)
        print("stowage: the service ended before the command did.", file=sys.stderr)
    return status


def _open_log(path: str | None) -> _Log:
    """Open the file that was asked for, or a temporary one that has no name."""
    try:
        if path is None:
            with tempfile.TemporaryFile(buffering=0) as temporary:
                descriptor = os.dup(temporary.fileno())
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as exc:
        raise ConfigError(f"--log: cannot write {path or 'a temporary file'}: {exc.strerror}.") from None
    return _Log(descriptor, os.fstat(descriptor).st_size)


def _print_log(log: _Log) -> None:
    """Print the end of the log, unless whoever reads standard error has it already."""
    status = os.fstat(log.descriptor)
    if stat.S_ISREG(status.st_mode) and not os.path.samestat(status, os.fstat(2)):
        end = os.pread(log.descriptor, _LOG_BYTES, max(log.start, status.st_size - _LOG_BYTES))
        print(end.decode(errors="replace"), end="", file=sys.stderr)


def _block_signals() -> tuple[set[signal.Signals], set[signal.Signals | int]]:
    """Block what is waited for from now on. Return that and the mask of before.

    What this process was started to ignore, as by nohup, stays ignored by the command too.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signals = {signal.SIGCHLD} | {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
    return signals, signal.pthread_sigmask(signal.SIG_BLOCK, signals)


def _wait_until_ready(service: PrivateService, signals: Iterable[int], log: _Log) -> int:
    """Return 0 once the service answers, or the status to end with."""
    deadline = time.monotonic() + _START_SECONDS
    while not service.answers():
        received = signal.sigtimedwait(signals, _POLL_SECONDS)
        if received is not None and received.si_signo != signal.SIGCHLD:
            name = signal.Signals(received.si_signo).name
            print(f"stowage: ended by {name} before the command was run.", file=sys.stderr)
            return _SIGNALLED + received.si_signo
        if service.has_ended or time.monotonic() > deadline:
            _print_log(log)
            problem = "ended before it was ready" if service.has_ended else f"was not ready after {_START_SECONDS} seconds"
            print(f"stowage: the service {problem}; the command was not run.", file=sys.stderr)
            return _NOT_STARTED
    return 0


def _environment(config: Config, service: PrivateService) -> dict[str, str]:
    """The environment of the command: its docker uses the service, its stowage the same store."""
    kept = {name: value for name, value in os.environ.items() if name not in _TLS_VARIABLES}
    return {**kept, "DOCKER_HOST": f"unix://{service.socket}", "STOWAGE_ROOT": str(config.root)}


def _run_command(command: list[str], environment: dict[str, str], signals: set[signal.Signals], mask: Iterable[int]) -> int:
    """Run the command, pass on the signals that processes send, and return its status.

    A signal of the kernel is the terminal's, which has sent it to the command as well.
    """
    parent = os.getpid()

    def prepare() -> None:
        end_with_parent(parent, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        process = subprocess.Popen(command, env=environment, close_fds=False, preexec_fn=prepare)  # noqa: PLW1509 - there are no threads
    except OSError as exc:
        print(f"stowage: cannot run {command[0]}: {exc.strerror}.", file=sys.stderr)
        return _NOT_FOUND if isinstance(exc, FileNotFoundError) else _CANNOT_RUN
    while process.poll() is None:
        received = signal.sigwaitinfo(signals)
        if received.si_signo != signal.SIGCHLD and received.si_code <= 0:
            with contextlib.suppress(PermissionError):
                process.send_signal(received.si_signo)
    return process.returncode if process.returncode >= 0 else _SIGNALLED - process.returncode
