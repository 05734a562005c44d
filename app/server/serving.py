"""The server: gunicorn with threads, configured here and nowhere else.

The application is created once in the parent and forked, so that workers share its memory. The parent begins a list of the images and
closes the database. Workers therefore start with the statements compiled, and each opens its own database connections. They inherit the
hold on the store's folders (app/holding.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import ssl
from itertools import count
from pathlib import Path

from flask import Flask
from gunicorn.app.base import BaseApplication
from gunicorn.http import message, wsgi
from gunicorn.workers.gthread import ThreadWorker

from stowage.app.application import create_app
from stowage.app.holding import hold_folders
from stowage.app.logs import log_to_stderr
from stowage.app.metrics import Metrics
from stowage.app.server.arbiter import Arbiter
from stowage.app.server.connections import mark_health
from stowage.app.server.json_logger import JsonLogger
from stowage.app.server.notices import notify, notify_ready
from stowage.app.server.worker import Worker
from stowage.app.setting_fields import SOCKET_PATH_BYTES, Bind
from stowage.app.settings import Config, ConfigError
from stowage.app.stopping import SIGNALS, end_at_once
from stowage.app.wiring import build_engine, prepare_store
from stowage.blueprints.request import ENGINE
from stowage.services.engine import Engine
from stowage.services.errors import EngineError
from stowage.services.filters import Filters
from stowage.services.images.list import list_images
from stowage.services.system.version import VERSION
from stowage.services.tcp_keepalive import KEEPALIVE

_M_ARENA_MAX = -8
"""The parameter's number in glibc's malloc.h."""

_LONG = 1 << 20
"""Bytes of an answer whose memory is given back."""

_REQUEST_LINE = 1 << 20
"""The longest request line in bytes, as Go allows for the whole head: `docker save` of many images names each in its query."""

_log = logging.getLogger(__name__)


class Server(BaseApplication):
    """gunicorn, configured from a Config."""

    def __init__(self, config: Config, metrics: Metrics | None = None) -> None:
        self.config, self.metrics = config, metrics
        self.images: int | None = None
        super().__init__()

    def load_config(self) -> None:
        """Set all of gunicorn's configuration; its command line and environment are not read."""
        for name, value in (_settings(self.config) | _hooks()).items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Create the application in the parent. What is in memory by then stays, so no worker's garbage collector need scan it."""
        application = create_app(self.config, build=lambda config: build_engine(config, self.metrics), metrics=self.metrics)
        self.images = _count_once(application.extensions[ENGINE]())
        gc.freeze()
        gc.enable()
        return application

    def run(self) -> None:
        """Serve until the service is asked to stop; ends with SystemExit."""
        Arbiter(self).run()


def serve(config: Config) -> None:
    """Migrate the database, then serve until Ctrl-C, SIGTERM or SIGHUP; ends with SystemExit, whose status is then 0.

    Raises ConfigError if another service uses the store or an address.
    """
    end_at_once(service=True)
    log_to_stderr(config.log_level, config.log_format)
    _use_one_arena()
    _check_tls(config)
    hold_folders(config)
    for setting, binds in (("STOWAGE_BIND", config.bind), ("STOWAGE_HEALTH_BIND", config.health_bind)):
        for bind in binds:
            _free_address(bind, setting)
    prepare_store(config)
    _adjust_gunicorn()
    _allow_descriptors()
    Server(config, _start_metrics(config)).run()


def _check_tls(config: Config) -> None:
    """Raise ConfigError if the files are not a certificate, its key and an authority."""
    if not (config.tls_cert and config.tls_key and config.tls_ca):
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(config.tls_cert, config.tls_key)
    except OSError as exc:
        raise ConfigError(f"STOWAGE_TLS_CERT, STOWAGE_TLS_KEY: cannot be used as a certificate and its key: {exc}.") from None
    try:
        context.load_verify_locations(config.tls_ca)
    except OSError as exc:
        raise ConfigError(f"STOWAGE_TLS_CA: cannot be used as authorities: {exc}.") from None


def _count_once(engine: Engine) -> int | None:
    """The number of images, None after an error: errors of the store are left for the requests to report.

    It also begins a list, so its statements are compiled once and not in each worker.
    """
    images = None
    with contextlib.suppress(Exception), engine.metadata.read() as tx:
        next(list_images(engine, filters=Filters()), None)
        images = tx.images.count()
    engine.metadata.close()
    return images


def _adjust_gunicorn() -> None:
    """Set two things that gunicorn has no setting for: the name in its Server header, and request lines over 8 KiB."""
    wsgi.SERVER = f"Docker/{VERSION} (linux)"
    message.MAX_REQUEST_LINE = _REQUEST_LINE


def _allow_descriptors() -> None:
    """Allow as many open files as this user may have: the usual soft limit of 1,024 is too low for the connections of one worker and
    their files.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _settings(config: Config) -> dict[str, object]:
    """gunicorn's settings.

    keepalive is at least the 60 or 75 seconds of proxies, so that they close first. The worker's timeout watches only its main thread, so
    long streams are not cut off. Header limits allow the long filters and credentials that clients send.
    """
    settings: dict[str, object] = {
        "bind": [str(bind) for bind in (*config.bind, *config.health_bind)],
        "worker_class": f"{Worker.__module__}.{Worker.__name__}",
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
        "loglevel": "error" if config.log_level == "error" else "warning",
        "proc_name": "stowage",
        "control_socket_disable": True,
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
    }
    if config.log_format == "json":
        settings["logger_class"] = JsonLogger
    if config.tls:
        settings |= {
            "certfile": str(config.tls_cert),
            "keyfile": str(config.tls_key),
            "ca_certs": str(config.tls_ca),
            "cert_reqs": ssl.CERT_REQUIRED,
        }
    return settings


def _hooks() -> dict[str, object]:
    """What gunicorn calls."""
    return {
        "post_request": _give_back_memory,
        "when_ready": _prepare_listeners,
        "pre_fork": _give_slot,
        "post_fork": _take_slot,
        "post_worker_init": _say_ready,
        "worker_exit": _end_worker,
        "child_exit": _free_slot,
        "on_exit": _end,
    }


def _use_one_arena() -> None:
    """Have glibc use one arena for all threads: with one arena each, memory that one thread frees is of no use to the others."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _give_back_memory(worker: ThreadWorker, request: message.Request, environ: dict[str, object], response: wsgi.Response | None) -> None:
    """After a stream or a long answer, return to the system what glibc keeps of its buffers."""
    if response is not None and (response.is_chunked() or response.sent > _LONG):
        with contextlib.suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _prepare_listeners(arbiter: Arbiter) -> None:
    """Prepare the listeners before the workers inherit them."""
    mark_health(arbiter.LISTENERS, len(arbiter.app.config.health_bind))
    _keep_alive(arbiter)


def _keep_alive(arbiter: Arbiter) -> None:
    """Notice clients whose machines no longer answer: on Linux an accepted connection inherits the options of the listening socket."""
    for listener in arbiter.LISTENERS:
        if listener.sock.family != socket.AF_UNIX:
            for option in KEEPALIVE:
                listener.sock.setsockopt(*option)


def _say_ready(worker: Worker) -> None:
    """Say that the service is ready: the first worker does so, right before it takes connections.

    On PostgreSQL each connects, since connections hold the database. SQLite's are opened when they are needed.
    """
    if worker.app.config.database_file is None:
        with contextlib.suppress(EngineError):
            worker.wsgi.extensions[ENGINE]().metadata.store_id()
    if worker.age == 1:
        notify_ready(worker.app.config, worker.sockets, worker.app.images)


def _end_worker(arbiter: Arbiter, worker: Worker) -> None:
    """In the worker, after its last request: leave the threads of those that were cut. The interpreter would wait for them."""
    if worker.has_cut:
        os._exit(0)


def _end(arbiter: Arbiter) -> None:
    """Once the workers have ended, make a database of SQLite one file: it writes its log back when the last connection is closed."""
    if arbiter.app.config.database_file:
        metadata = arbiter.app.wsgi().extensions[ENGINE]().metadata
        with contextlib.suppress(EngineError):
            metadata.store_id()
        metadata.close()
    if metrics := arbiter.app.metrics:
        metrics.close()
    if arbiter.stopped_by is not None:
        notify(f"stopped by {SIGNALS[signal.Signals(arbiter.stopped_by)]}")


def _start_metrics(config: Config) -> Metrics | None:
    """The metrics, if they are wanted and there is space for their files."""
    if not config.has_metrics:
        return None
    try:
        metrics = Metrics(config.root)
        for slot in range(config.workers):
            metrics.prepare_worker(slot)
    except OSError as exc:
        _log.warning("there are no metrics, since their files cannot be created: %s", exc.strerror or exc)
        return None
    return metrics


def _give_slot(arbiter: Arbiter, worker: Worker) -> None:
    """Give a worker a number that no other has."""
    taken = {each.slot for each in arbiter.WORKERS.values()}
    worker.slot = next(slot for slot in count() if slot not in taken)
    if metrics := arbiter.app.metrics:
        with contextlib.suppress(OSError):  # one more worker than at the start, and no space for its files
            metrics.prepare_worker(worker.slot)


def _take_slot(arbiter: Arbiter, worker: Worker) -> None:
    """Write the metrics of this process under that number from now on."""
    if metrics := arbiter.app.metrics:
        metrics.begin_worker(worker.slot)


def _free_slot(arbiter: Arbiter, worker: Worker) -> None:
    """Note that a worker has ended; another one will replace it."""
    if metrics := arbiter.app.metrics:
        metrics.end_worker(worker.slot)


def _free_address(bind: Bind, setting: str) -> None:
    """Raise ConfigError for an address that this process cannot listen on; gunicorn would keep retrying."""
    if bind.path is not None:
        _free_socket(bind.path, setting)
        return
    try:
        family, kind, _, _, address = socket.getaddrinfo(bind.host, bind.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as exc:
        raise ConfigError(f"{setting}: cannot listen on {bind}: {exc.strerror}.") from None


def _free_socket(path: Path, setting: str) -> None:
    """Make the folder of a unix socket. Raises ConfigError if the path is not a socket, or if another service listens on it."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"{setting}: cannot make the folder of {path}: {exc.strerror}.") from None
    if (length := len(os.fsencode(path))) > SOCKET_PATH_BYTES:
        raise ConfigError(f"{setting}: {path} has {length} bytes, and a socket's path at most {SOCKET_PATH_BYTES}; name a shorter one.")
    if path.exists() and not path.is_socket():
        raise ConfigError(f"{setting}: {path} exists and is not a socket.")
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        raise ConfigError(f"{setting}: another service is listening on {path}.")
