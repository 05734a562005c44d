"""The server: gunicorn with threads, configured here and nowhere else.

The application is made once in the parent and forked, so that workers share its memory; each builds its engine, and with it its database
connections, at its first request. The parent holds `<root>/lock` for the life of the service; workers inherit it, so the root stays taken
until the last of them is gone.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import fcntl
import logging
import socket
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.http import message, wsgi
from gunicorn.workers.gthread import TConn, ThreadWorker

from app import create_app
from app.config import Config, ConfigError
from services.metadata.session import upgrade
from services.system.version import VERSION

_REQUEST_LINE = 1 << 20
"""Bytes of a request line, as Go allows for the whole head: `docker save` of many images names each in its query."""


_DRAIN_BYTES = 16 << 20
_DRAIN_SECONDS = 5.0


class Worker(ThreadWorker):
    """gunicorn's threaded worker, speaking TLS on TCP only, and patient with uploads that it refuses."""

    def enqueue_req(self, conn: TConn) -> None:
        if self.cfg.is_ssl and conn.sock.family == socket.AF_UNIX:
            conn.cfg = _without_tls(self.cfg)
        super().enqueue_req(conn)

    def _keepalive_after(self, conn: TConn, keepalive: bool) -> bool:
        """Take a bounded part of a body that nobody read: a connection closed under a sender loses the answer on its way to it."""
        drained = conn.parser.finish_body(deadline=time.monotonic() + _DRAIN_SECONDS, max_bytes=_DRAIN_BYTES)
        return bool(keepalive and drained)


class Server(BaseApplication):
    """gunicorn, told what to do by a Config."""

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        """The whole of gunicorn's configuration; its command line and environment are not read."""
        for name, value in _settings(self._config).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """The application, in the parent."""
        return create_app(self._config)


def serve(config: Config) -> None:
    """Migrate the database, then serve until SIGTERM; raises ConfigError where another service is in the way."""
    _log_to_stderr()
    with hold_root(config.root):
        for bind in config.bind:
            _free_socket(bind.path)
        upgrade(config.database_url)
        _adjust_gunicorn()
        Server(config).run()


@contextlib.contextmanager
def hold_root(root: Path) -> Iterator[None]:
    """Be the only service of this root while inside, made for its user alone if it is not there; raises ConfigError where there is another."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (root / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise ConfigError(f"STOWAGE_ROOT: another service is running on {root}.") from None
        yield


def _adjust_gunicorn() -> None:
    """Two things that gunicorn has no setting for: the name in its Server header, and request lines over 8 KiB."""
    wsgi.SERVER = f"Docker/{VERSION} (linux)"
    message.MAX_REQUEST_LINE = _REQUEST_LINE


def _settings(config: Config) -> dict[str, object]:
    """gunicorn's settings.

    keepalive is above the 60 or 75 seconds of proxies, so that they close first. The worker's timeout watches its main thread only, so
    long streams are not cut. Header limits allow the long filters and credentials that clients send.
    """
    settings: dict[str, object] = {
        "bind": [str(bind) for bind in config.bind],
        "worker_class": f"{__name__}.{Worker.__name__}",
        "workers": config.workers,
        "threads": config.threads,
        "worker_connections": max(1000, 2 * config.threads),
        "preload_app": True,
        "keepalive": 75,
        "timeout": 120,
        "graceful_timeout": 10,
        "umask": 0o177,
        "limit_request_line": _REQUEST_LINE,
        "limit_request_field_size": 65536,
        "errorlog": "-",
        "loglevel": "warning",
        "proc_name": "stowage",
        "post_request": _give_back_memory,
        "forwarded_allow_ips": "",
    }
    if config.tls:
        settings |= {
            "certfile": str(config.tls_cert),
            "keyfile": str(config.tls_key),
            "ca_certs": str(config.tls_ca),
            "cert_reqs": ssl.CERT_REQUIRED,
        }
    return settings


def _give_back_memory(worker: ThreadWorker, request: message.Request, environ: dict[str, object], response: wsgi.Response) -> None:
    """After a stream, return to the system what glibc keeps of its buffers in the arenas of many threads."""
    if response.is_chunked():
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _without_tls(cfg: object) -> object:
    """The same configuration, without a certificate."""
    plain = copy.deepcopy(cfg)
    plain.set("certfile", None)  # type: ignore[attr-defined]
    plain.set("keyfile", None)  # type: ignore[attr-defined]
    return plain


def _free_socket(path: Path | None) -> None:
    """Make way for a unix socket: its folder, and away with a socket nobody listens on; raises ConfigError for a live one."""
    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_socket():
        raise ConfigError(f"STOWAGE_BIND: {path} is there and is not a socket.")
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise ConfigError(f"STOWAGE_BIND: another service is listening on {path}.")


def _log_to_stderr() -> None:
    """One line per record, with its time; the service's own from INFO on, libraries' from WARNING on."""
    logging.basicConfig(stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s", level=logging.WARNING)
    logging.getLogger("stowage").setLevel(logging.INFO)
