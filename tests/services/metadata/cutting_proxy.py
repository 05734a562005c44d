"""A TCP proxy before a server of 127.0.0.1 that cuts a connection at a word of the client."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self


class CuttingProxy:
    """Cuts the connection before the server gets the word, or once the server has answered it."""

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.cut_before: bytes | None = None
        self.cut_after: bytes | None = None
        self.refuses_after_cut = False
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.cuts and self.refuses_after_cut:
                    client.close()
                    continue
                server = socket.create_connection(("127.0.0.1", self._to))
                cut = threading.Event()
                threading.Thread(target=self._forward, args=(client, server, cut), daemon=True).start()
                threading.Thread(target=self._answer, args=(server, client, cut), daemon=True).start()

    def _forward(self, client: socket.socket, server: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError), client, server:
            while chunk := client.recv(65536):
                if self.cut_before and self.cut_before in chunk:
                    self.cut_before = None
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                if self.cut_after and self.cut_after in chunk:
                    self.cut_after = None
                    cut.set()
                server.sendall(chunk)

    def _answer(self, server: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        with suppress(OSError), client:
            while chunk := server.recv(65536):
                if cut.is_set():
                    self.cuts += 1
                    client.shutdown(socket.SHUT_RDWR)
                    return
                client.sendall(chunk)
