"""One service for each folder, and one content folder for each SQLite database.

The processes of a service hold `<folder>/lock` together, and any other process is refused.

The lock is a shared flock on a descriptor that is never closed. The system releases it when the last process of the service has ended,
even a worker that outlived its parent because a client is still streaming. The file names the process that the service belongs to. A
process that finds the folder held may join only if it belongs to the same one. The workers of one gunicorn therefore share a store,
although each creates the application itself.

Every process that uses an SQLite database, also a command, holds `<database>-place` in the same way. That file names the content folder,
and a process that uses another is refused.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import signal
import time
from pathlib import Path

from gunicorn.workers.base import Worker

from stowage.app.settings import Config, ConfigError
from stowage.services.files import open_lock_file

_MOST_BYTES = 1024
_MOMENT_SECONDS, _PAUSE_SECONDS = 1.0, 0.005


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
        held = _hold(open_lock_file(folder / "lock"), identity(_service_pid()))
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
    """A text that distinguishes the content folder from every other, also from its copies on this and other machines.

    It is random, and in a file of the folder. Each process that uses the store holds the file until it has ended. A process that finds it
    held by no other changes the text. A bucket is distinguished by its URL and its endpoint. Raises ConfigError if the folder cannot be
    used.

    Connections to PostgreSQL need the text. It is empty for SQLite, whose file is held here for this folder, also if that has only partial
    blobs; raises ConfigError if another process uses it with another.
    """
    if config.database_file:
        _hold_database(config.database_file, config.content_root)
        return ""
    return config.bucket.place if config.bucket else _hold_place(config.content_root)


def _hold_database(file: Path, folder: Path) -> None:
    """Hold the file of a database for this content folder, whichever of its names is used."""
    real = Path(os.path.realpath(file))
    try:
        _require_one_name(real, file)
        lock = open_lock_file(f"{real}-place")  # before the folder's file: descriptors of a process that ends are closed in this order
        held = _hold(lock, _hold_place(folder))
    except OSError as exc:
        raise ConfigError(f"STOWAGE_DATABASE_URL: cannot use the folder {real.parent}: {exc.strerror}.") from None
    if not held:
        raise ConfigError(
            f"STOWAGE_DATABASE_URL: another service or command uses the database {file} with another content folder than {folder}."
        )


def _require_one_name(real: Path, file: Path) -> None:
    """Raise ConfigError if the file may have a name that is not known here.

    SQLite's log is named after the name in use, so what was written under one name is missing under another.
    """
    if not real.exists():
        return
    if real.stat().st_nlink > 1:
        raise ConfigError(f"STOWAGE_DATABASE_URL: {file} has more names than one (hard links), and SQLite needs it to have one: copy it.")
    if _mount(real) != _mount(real.parent):
        raise ConfigError(f"STOWAGE_DATABASE_URL: {file} is a mount point, and SQLite keeps files beside it: mount its folder instead.")


def _mount(path: Path) -> str:
    """The mount that a path is on; empty without /proc. The file is not really opened: to close it would release SQLite's locks on it."""
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{handle}").read_text().splitlines()
        return next((line for line in lines if line.startswith("mnt_id:")), "")
    except FileNotFoundError:
        return ""
    finally:
        os.close(handle)


def _hold_place(folder: Path) -> str:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = open_lock_file(folder / "place")
        held = _share(file, secrets.token_hex(16))
    except OSError as exc:
        raise ConfigError(f"STOWAGE_CONTENT_URL: cannot use the folder {folder}: {exc.strerror}.") from None
    if not held:
        raise ConfigError(f"STOWAGE_CONTENT_URL: another process keeps {folder}/place to itself.")
    return os.pread(file, _MOST_BYTES, 0).decode()


def _hold(lock: int, owner: str) -> bool:
    """Try to hold a file together with others of this owner, and return whether this process holds it from now on."""
    if _share(lock, owner) and os.pread(lock, _MOST_BYTES, 0) == owner.encode():
        return True
    os.close(lock)
    return False


def _share(lock: int, text: str) -> bool:
    """Share the lock on a file, after writing this text into it if no other process has the lock; returns whether it is shared.

    Nobody writes while another shares the lock, so from then on the text is the same for all. Whoever writes has the lock alone, for a
    moment.
    """
    if _lock(lock, fcntl.LOCK_EX):
        os.ftruncate(lock, os.pwrite(lock, text.encode(), 0))
    until = time.monotonic() + _MOMENT_SECONDS
    while not _lock(lock, fcntl.LOCK_SH):
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_SECONDS)
    return True


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
