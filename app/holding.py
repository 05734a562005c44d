"""One service for each folder: its processes hold `<folder>/lock` together, and any other process is refused.

The lock is a shared flock on a descriptor that is never closed. The system releases it when the last process of the service has ended,
even a worker that outlived its parent because a client is still streaming. The file names the process that the service belongs to. A
process that finds the folder held may join only if it belongs to the same one. The workers of one gunicorn therefore share a store,
although each creates the application itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gunicorn.workers.base import Worker

from stowage.settings import Config, ConfigError

_MOST_BYTES = 1024


def hold_folders(config: Config) -> None:
    """Hold the folders of the store until this process and all that it forks have ended. Missing folders are made for its user alone.

    Raises ConfigError if another service holds one of them. A process may hold its folders again.
    """
    for folder, setting in {config.content_root: "STOWAGE_CONTENT_URL", config.root: "STOWAGE_ROOT"}.items():
        hold_folder(folder, setting)


def hold_folder(folder: Path, setting: str) -> None:
    """Hold one folder, which this setting names; as `hold_folders`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = _hold(folder)
    except OSError as exc:
        raise ConfigError(f"{setting}: cannot use the folder {folder}: {exc.strerror}.") from None
    if not held:
        raise ConfigError(f"{setting}: another service is running on {folder}.")


def require_unheld(folder: Path, config: Config) -> None:
    """Raise ConfigError if another service than this process's own holds the folder."""
    if folder in (config.root, config.content_root):
        return
    try:
        lock = os.open(folder / "lock", os.O_RDONLY)
    except OSError:
        return
    with contextlib.closing(os.fdopen(lock)):
        if not _lock(lock, fcntl.LOCK_EX):
            raise ConfigError(f"--to-database: another service is running on {folder}.")


def hold_place(config: Config) -> str:
    """A text that distinguishes the content folder from every other, also from its copies on this and other machines; empty for SQLite.

    It is random, and in a file of the folder. Each process that uses the store holds the file until it has ended. A process that finds it
    held by no other changes the text. A bucket is distinguished by its URL and its endpoint. Raises ConfigError if the folder cannot be
    used.
    """
    if config.database_file:
        return ""
    if config.bucket:
        return config.bucket.place
    folder = config.content_root
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder):
            file = os.open(folder / "place", os.O_RDWR | os.O_CREAT, 0o600)
            if _lock(file, fcntl.LOCK_EX):
                os.ftruncate(file, os.pwrite(file, secrets.token_hex(16).encode(), 0))
            _lock(file, fcntl.LOCK_SH)
            return os.pread(file, _MOST_BYTES, 0).decode()
    except OSError as exc:
        raise ConfigError(f"STOWAGE_CONTENT_URL: cannot use the folder {folder}: {exc.strerror}.") from None


def _hold(folder: Path) -> bool:
    """Try to hold the folder, and return whether this process holds it from now on."""
    owner = identity(_service_pid()).encode()
    with _alone(folder):
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        if _lock(lock, fcntl.LOCK_EX):
            os.ftruncate(lock, os.pwrite(lock, owner, 0))
        elif os.pread(lock, _MOST_BYTES, 0) != owner:
            os.close(lock)
            return False
        return _lock(lock, fcntl.LOCK_SH)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Admit one process at a time to this folder: a sibling must not read the file before the owner has been written into it."""
    asking = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(asking, fcntl.LOCK_EX)
        yield
    finally:
        os.close(asking)


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _service_pid() -> int:
    """The process that the service belongs to: in a gunicorn worker its master, otherwise this process.

    gunicorn does not pass the worker to the application that it loads, but the worker's signal handlers are installed by then. A worker
    whose master has died in the meantime is on its own.
    """
    worker = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if isinstance(worker, Worker) and worker.ppid == os.getppid():
        return os.getppid()
    return os.getpid()


def identity(pid: int) -> str:
    """A line that is unique to a process, across containers and reboots: boot, pid namespace, pid and start time.

    The start time is field 22 of proc_pid_stat(5); the program's name before it may contain anything. Without /proc it is only the pid.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = os.readlink("/proc/self/ns/pid")
        started = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except OSError:
        return f"{pid}\n"
    return f"{boot} {namespace} {pid} {started}\n"
