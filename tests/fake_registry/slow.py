"""What a server can do that never ends: a byte now and then, or nothing more."""

from __future__ import annotations

import socket
import threading
from enum import StrEnum

DRIP_SECONDS = 0.005
_PIECE_SECONDS = 0.05


class Slowness(StrEnum):
    """How an answer comes; it goes on until the client closes the connection."""

    DRIP = "the body, a byte at a time, to its end"
    DRIP_HEADERS = "a head without an end, a byte at a time"
    ENDLESS_CONTINUE = "100 Continue, again and again"
    STALL = "half a head, then nothing"
    DRIP_EXTENSION = "a chunk whose extension has no end, a byte at a time"
    DRIP_TRAILERS = "an empty body with trailers without an end, a byte at a time"


_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_BEGINNINGS = {
    Slowness.ENDLESS_CONTINUE: b"HTTP/1.1 100 Continue\r\n\r\n",
    Slowness.DRIP_EXTENSION: _CHUNKED + b"100;",
    Slowness.DRIP_TRAILERS: _CHUNKED + b"0\r\n",
}


def answer_slowly(connection: socket.socket, slowness: Slowness, began: threading.Event) -> None:
    """Answer until the client is gone."""
    head = b"HTTP/1.1 200 OK\r\nX-Drip: "
    connection.sendall(_BEGINNINGS.get(slowness, head))
    began.set()
    if slowness is Slowness.STALL:
        connection.recv(1)
    gone = threading.Event()
    while not gone.wait(DRIP_SECONDS):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" if slowness is Slowness.ENDLESS_CONTINUE else b"x")


def drip(connection: socket.socket, content: bytes, began: threading.Event) -> None:
    """Send bytes one at a time."""
    gone = threading.Event()
    for position in range(len(content)):
        connection.sendall(content[position : position + 1])
        began.set()
        gone.wait(DRIP_SECONDS)


def send_at(rate: int, connection: socket.socket, content: bytes) -> None:
    """Send so many bytes a second."""
    gone, piece = threading.Event(), max(1, round(rate * _PIECE_SECONDS))
    for position in range(0, len(content), piece):
        connection.sendall(content[position : position + piece])
        gone.wait(_PIECE_SECONDS)
