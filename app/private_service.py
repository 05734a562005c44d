"""A service on a private socket for one process, which it never outlives.

That process forks a *keeper*, which leads a session of its own, so that neither Ctrl-C nor the end of a terminal reaches it. The keeper
forks the service, and waits until its parent asks it to stop, its parent has ended in whatever way, or the service has ended. Then it stops
what is left of the service and removes the socket. Nothing is executed anew, so it does not matter how this program was installed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import tempfile
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from pathlib import Path

from stowage.app.setting_fields import SOCKET_PATH_BYTES, Bind
from stowage.app.settings import Config, ConfigError
from stowage.app.stopping import end_with_parent
from stowage.app.terminal import complain
from stowage.services.errors import EngineError

_FORK = multiprocessing.get_context("fork")
_KEEPER_SIGNALS = (signal.SIGTERM, signal.SIGCHLD)
_SHORT_FOLDERS = ("/tmp", "/var/tmp", "/dev/shm")
_ANSWER_SECONDS = 1
_STOP_SECONDS = 20
"""More than the time for which a service that stops waits for its streams."""


@dataclass(frozen=True, slots=True)
class PrivateService:
    """A service that has been started for this process, and the path of its socket."""

    socket: Path
    _keeper: ForkProcess

    @classmethod
    def start(cls, config: Config, log: int) -> PrivateService:
        """Start a service that writes its log to the descriptor `log`. Raises ConfigError if there is no place for its socket."""
        receiver, sender = _FORK.Pipe(duplex=False)
        keeper = _FORK.Process(target=_keep, args=(os.getpid(), config, sender, log))
        keeper.start()
        sender.close()
        try:
            return cls(receiver.recv(), keeper)
        except EOFError:
            raise ConfigError("TMPDIR must be a folder for a socket, one that can be written and has a short path.") from None

    @property
    def has_ended(self) -> bool:
        """Whether the service has ended, and everything of it has been removed."""
        return self._keeper.exitcode is not None

    @property
    def ended_by_itself(self) -> bool:
        """Whether the service has ended before it was asked to."""
        return self._keeper.exitcode not in (None, 0)

    def answers(self) -> bool:
        """Ask the service whether it is ready, waiting a second at most."""
        with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(OSError):
            client.settimeout(_ANSWER_SECONDS)
            client.connect(str(self.socket))
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return client.recv(1024).partition(b"\r\n")[0].split()[1:2] == [b"200"]
        return False

    def stop(self) -> None:
        """Stop the service, and return when everything of it has been removed."""
        self._keeper.terminate()
        self._keeper.join()


def _keep(parent: int, config: Config, sender: Connection, log: int) -> None:
    """Run a service until it ends or this process gets SIGTERM, as it does when its parent ends.

    Sends the path of the socket, or nothing if there is no place for it. Exits with status 1 if the service ended first.
    """
    os.setsid()
    _write_to(log)
    signal.pthread_sigmask(signal.SIG_BLOCK, _KEEPER_SIGNALS)
    end_with_parent(parent, signal.SIGTERM)
    if folder := _make_folder():
        try:
            sender.send(folder / "stowage.sock")
            sys.exit(_run_service(replace(config, bind=(Bind(path=folder / "stowage.sock"),), health_bind=())))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _make_folder() -> Path | None:
    """Make a temporary folder, for this user alone, whose path is short enough for a socket."""
    for parent in (os.path.abspath(os.environ.get("TMPDIR") or "/tmp"), *_SHORT_FOLDERS):
        if len(os.fsencode(parent)) + len("/stowage-12345678/stowage.sock") <= SOCKET_PATH_BYTES:
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="stowage-", dir=parent))
    return None


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
    from stowage.app.server.serving import serve

    try:
        serve(config)
    except (ConfigError, EngineError) as exc:
        complain(exc)
        sys.exit(1)


def _write_to(log: int) -> None:
    """Read nothing, and write standard output and standard error to the log."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
