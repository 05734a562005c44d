"""`stowage run`: run a command with a service on a private socket, which never outlives this process.

The command stays in the process group and the terminal of this process, so that Ctrl-C, Ctrl-Z and job control work as without it.

For the service this process forks a *keeper*, which leads a session of its own, so that neither Ctrl-C nor the end of a terminal reaches
it. The keeper forks the service, and waits until its parent asks it to stop, its parent has ended in whatever way, or the service has
ended. Then it stops what is left of the service and removes the socket. Nothing is executed anew, so it does not matter how this program
was installed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Iterable
from dataclasses import replace
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import NamedTuple

from stowage.app.setting_fields import SOCKET_PATH_BYTES, Bind
from stowage.app.settings import Config, ConfigError
from stowage.app.stopping import end_with_parent
from stowage.app.terminal import complain
from stowage.services.errors import EngineError

_FORK = multiprocessing.get_context("fork")
_NOT_STARTED, _CANNOT_RUN, _NOT_FOUND, _SIGNALLED = 125, 126, 127, 128
_START_SECONDS = 120
_POLL_SECONDS = 0.05
_ANSWER_SECONDS = 1
_STOP_SECONDS = 20
"""More than the time for which a service that stops waits for its streams."""
_LOG_BYTES = 8192
_PASSED_ON = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
_KEEPER_SIGNALS = (signal.SIGTERM, signal.SIGCHLD)
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_TLS_VARIABLES = ("DOCKER_TLS", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH")
"""Variables that make clients ask for certificates even on a unix socket. DOCKER_CONTEXT may stay: DOCKER_HOST has precedence."""


class _Log(NamedTuple):
    """The descriptor of the service's log, and where in the file it begins."""

    descriptor: int
    start: int


def run(config: Config, options: Namespace) -> int:
    """Start a service, run the command, stop the service, and return the status to end with.

    That is the command's: 128 and its number after a signal, 126 or 127 if it cannot be run; or 125 if the service does not start. Signals
    stay blocked. Raises ConfigError if there is no place for the log or the socket.
    """
    command = options.command[1:] if options.command[0] == "--" else options.command
    signals, mask = _block_signals()
    log, path = _open_log(options.log), _choose_folder() / "stowage.sock"
    service = replace(config, bind=(Bind(path=path),), health_bind=())
    keeper = _FORK.Process(target=_keep, args=(os.getpid(), service, path.parent, log.descriptor))
    keeper.start()
    try:
        status = _wait_until_ready(keeper, path, signals, log)
        if status != 0:
            return status
        status = _run_command(command, _environment(config, path), signals, mask)
    finally:
        keeper.terminate()
        keeper.join()
    if keeper.exitcode != 0:
        _print_log(log)
        print("stowage: the service ended before the command did.", file=sys.stderr)
    return status


def _block_signals() -> tuple[set[signal.Signals], set[signal.Signals | int]]:
    """Block what is waited for from now on. Return that and the mask of before.

    What this process was started to ignore, as by nohup, stays ignored by the command too.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signals = {signal.SIGCHLD} | {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
    return signals, signal.pthread_sigmask(signal.SIG_BLOCK, signals)


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


def _choose_folder() -> Path:
    """A new temporary folder, whose path is short enough for a socket. The keeper makes it, since it also removes it."""
    name = f"stowage-{secrets.token_hex(4)}"
    for parent in (os.path.abspath(os.environ.get("TMPDIR") or "/tmp"), *_SHORT_FOLDERS):
        is_short = len(os.fsencode(parent)) + len(f"/{name}/stowage.sock") <= SOCKET_PATH_BYTES
        if is_short and os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK):
            return Path(parent, name)
    raise ConfigError("TMPDIR must be a folder for a socket, one that can be written and has a short path.")


def _wait_until_ready(keeper: ForkProcess, path: Path, signals: Iterable[int], log: _Log) -> int:
    """Return 0 once the service answers, or the status to end with."""
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(path):
        received = signal.sigtimedwait(signals, _POLL_SECONDS)
        if received is not None and received.si_signo != signal.SIGCHLD:
            name = signal.Signals(received.si_signo).name
            print(f"stowage: ended by {name} before the command was run.", file=sys.stderr)
            return _SIGNALLED + received.si_signo
        has_ended = keeper.exitcode is not None
        if has_ended or time.monotonic() > deadline:
            _print_log(log)
            problem = "ended before it was ready" if has_ended else f"was not ready after {_START_SECONDS} seconds"
            print(f"stowage: the service {problem}; the command was not run.", file=sys.stderr)
            return _NOT_STARTED
    return 0


def _answers(path: Path) -> bool:
    """Ask the service whether it is ready, waiting a second at most."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
        client.settimeout(_ANSWER_SECONDS)
        client.connect(str(path))
        client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
        return client.recv(1024).partition(b"\r\n")[0].split()[1:2] == [b"200"]
    return False


def _environment(config: Config, path: Path) -> dict[str, str]:
    """The environment of the command: its docker uses the service, its stowage the same store."""
    kept = {name: value for name, value in os.environ.items() if name not in _TLS_VARIABLES}
    return {**kept, "DOCKER_HOST": f"unix://{path}", "STOWAGE_ROOT": str(config.root)}


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


def _keep(parent: int, config: Config, folder: Path, log: int) -> None:
    """Run a service until it ends or this process gets SIGTERM, as it does when its parent ends. Exits with status 1 if it ended first."""
    os.setsid()
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    signal.pthread_sigmask(signal.SIG_BLOCK, _KEEPER_SIGNALS)
    end_with_parent(parent, signal.SIGTERM)
    folder.mkdir(mode=0o700)
    try:
        sys.exit(_run_service(config))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run_service(config: Config) -> int:
    """Run the service in a child process, and stop it when SIGTERM comes. Return 1 if it ended first."""
    service = _FORK.Process(target=_serve, args=(os.getpid(), config))
    service.start()
    assert service.pid is not None
    while service.exitcode is None and signal.sigwait(_KEEPER_SIGNALS) != signal.SIGTERM:
        pass
    status = 0 if service.exitcode is None else 1
    service.terminate()
    service.join(_STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    return status


def _serve(keeper: int, config: Config) -> None:
    """Serve in a process group of its own, which the keeper can kill as a whole."""
    os.setpgid(0, 0)
    end_with_parent(keeper, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    from stowage.app.server.serving import serve  # this process alone needs the memory

    try:
        serve(config)
    except (ConfigError, EngineError) as exc:
        complain(exc)
        sys.exit(1)
