"""A worker in a thread of the test, on a unix socket and a TCP address, and its clients."""

from __future__ import annotations

import os
import re
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace

from flask import Flask
from gunicorn.glogging import Logger
from gunicorn.sock import create_sockets

from stowage.app.server.connections import is_health, mark_health
from stowage.app.server.serving import Server, _adjust_gunicorn
from stowage.app.server.worker import Worker
from stowage.app.settings import Config

PATIENCE = 10


class Served:
    """A running worker."""

    def __init__(self, worker: Worker, thread: threading.Thread) -> None:
        self.worker, self.thread = worker, thread
        self.addresses = {listener.family: listener.getsockname() for listener in worker.sockets if not is_health(listener)}

    def connect(self, family: socket.AddressFamily = socket.AF_INET) -> socket.socket:
        connection = socket.socket(family)
        connection.settimeout(PATIENCE)
        connection.connect(self.addresses[family])
        return connection

    def probe(self) -> socket.socket:
        """A connection to the health address."""
        (listener,) = filter(is_health, self.worker.sockets)
        connection = socket.socket(listener.family)
        connection.settimeout(PATIENCE)
        connection.connect(listener.getsockname())
        return connection

    def over_unix(self) -> socket.socket:
        return self.connect(socket.AF_UNIX)

    def exchange(self, *pieces: bytes, family: socket.AddressFamily = socket.AF_UNIX) -> bytes:
        """What comes back for these pieces until the worker closes the connection."""
        with self.connect(family) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):
                for piece in pieces:
                    connection.sendall(piece)
            return rest(connection)

    def stop(self) -> None:
        self.worker.alive = False
        self.worker.method_queue.defer(lambda: None)
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def rest(connection: socket.socket) -> bytes:
    """Everything until the end of a connection, be it a reset."""
    content = b""
    with suppress(ConnectionResetError):
        while piece := connection.recv(1 << 16):
            content += piece
    return content


@contextmanager
def serving(app: Flask, folder: Path, **settings: str) -> Iterator[Served]:
    _adjust_gunicorn()
    environ = {"STOWAGE_ROOT": str(folder), "STOWAGE_BIND": f"unix:{folder}/s.sock,127.0.0.1:0", "STOWAGE_THREADS": "4", **settings}
    config = Config.from_environ(environ)
    cfg = Server(config).cfg
    log = Logger(cfg)
    sockets = create_sockets(cfg, log)
    mark_health(sockets, len(config.health_bind))
    worker = Worker(0, os.getppid(), sockets, SimpleNamespace(wsgi=lambda: app), 120, cfg, log)
    worker.tpool = worker.get_thread_pool()
    worker.poller = selectors.DefaultSelector()
    worker.method_queue.init()
    worker.load_wsgi()
    thread = threading.Thread(target=worker.run)
    thread.start()
    served = Served(worker, thread)
    try:
        yield served
    finally:
        served.stop()
        worker.tpool.shutdown()
        worker.tmp.close()


def statuses(answer: bytes) -> list[str]:
    return re.findall(r"HTTP/1\.1 (\d+)", answer.decode())
