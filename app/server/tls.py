"""TLS on a client's socket, one record at a time, so that no call computes for long, whatever the client sends.

OpenSSL continues to read a socket while the records that arrive have no data, such as key updates: a client could keep it busy forever.
Here it reads from memory instead, which never holds more than one record and the header of the next.
"""

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE
from typing import Any

_WITHOUT_DATA = 64
"""How many records without data a client may send, including those of its handshake, and one more for every _WITH_DATA with data.

A handshake takes about five, or some thirty for a long chain of certificates in records of 512 bytes. Later there are next to none: a key
is good for 2**24 records (RFC 8446, section 5.5). Go's limit is 16 in a row.
"""
_WITH_DATA = 1000
_HEADER = 5
"""The bytes of a record's header. The last two are the length of what follows."""
_RECORD = 1 << 14
"""The most bytes of data in a record."""
_PIECE = 1 << 16
"""How much is sent at once: this many bytes, and some more, stay reserved for each connection that has sent as much."""
_AS_WITHOUT_TLS = frozenset(
    {"close", "family", "fileno", "getpeername", "getsockname", "getsockopt", "gettimeout", "setblocking", "settimeout"}
)


class TlsSocket:
    """The server's side of a TLS connection, with the methods of a socket that the worker and gunicorn call.

    The socket below is readable whenever there is more, unless some data of the last record is still pending.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._header = b""  # of the next record, as much as has arrived
        self._missing = 0  # bytes of the current record
        self._records = self._with_data = 0
        self._unsent = memoryview(b"")
        self._sending = 0  # bytes of data, of which some records are unsent
        self._has_ended = self._is_shut = False

    def __getattr__(self, name: str) -> Any:
        if name not in _AS_WITHOUT_TLS:
            raise AttributeError(name)
        return getattr(self._sock, name)

    def getpeercert(self) -> dict[str, Any] | None:
        """The client's certificate, as in ssl."""
        return self._tls.getpeercert()

    def pending(self) -> int:
        """How much data has been decrypted but not received."""
        return self._tls.pending()

    def shake(self) -> int:
        """Continue the handshake. Returns the event to wait for before the next call, or 0 at its end; raises OSError if it fails."""
        while True:
            is_done = self._step()
            try:
                self._flush()
            except BlockingIOError:
                return EVENT_WRITE
            if is_done:
                return 0
            try:
                if not self._take():
                    raise ConnectionResetError("the client has left during the handshake")
            except BlockingIOError:
                return EVENT_READ

    def recv(self, size: int) -> bytes:
        """Data of one record, or none at the end of the stream. After shutdown, whatever arrives.

        Raises TimeoutError if the record is not complete in time, and OSError for what is not TLS.
        """
        if self._is_shut:
            return self._sock.recv(size)
        if self._tls.pending():
            return self._tls.read(min(size, _RECORD))
        timeout = self._sock.gettimeout()
        end = time.monotonic() + timeout if timeout else float("inf")
        while self._take():
            content = self._read(min(size, _RECORD))
            if content is not None:
                return content
            if time.monotonic() > end:
                raise TimeoutError("timed out")
        return b""

    def send(self, content: bytes | memoryview) -> int:
        """Send some of the data. If it raises BlockingIOError, the next call must be for the same data."""
        self._flush()
        if not self._sending:
            self._sending = self._tls.write(memoryview(content)[:_PIECE])
            self._flush()
        sent, self._sending = self._sending, 0
        return sent

    def sendall(self, content: bytes) -> None:
        """Send all of the data. The timeout is for each piece of it."""
        rest = memoryview(content)
        while rest:
            rest = rest[self.send(rest) :]

    def shutdown(self, how: int) -> None:
        """End TLS, without a close_notify: with one, an answer that was cut could look complete. Nothing more is decrypted."""
        self._is_shut = True
        self._sock.shutdown(how)

    def _step(self) -> bool:
        """Work on what has arrived of the handshake, and return whether that was the end of it."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            self._answer()
            raise
        return True

    def _read(self, size: int) -> bytes | None:
        """Data of the current record, or None if it is incomplete or has none."""
        try:
            content = self._tls.read(size)
        except ssl.SSLWantReadError:
            content = None
        finally:
            self._answer()
        self._with_data += bool(content)
        self._has_ended = content == b""  # by a close_notify
        return content

    def _answer(self) -> None:
        """Send what OpenSSL answers by itself, such as alerts, if the socket accepts it now."""
        if self._outgoing.pending:
            with suppress(BlockingIOError):
                self._flush()

    def _take(self) -> bool:
        """Pass on what has arrived of the current record, and the header of the next. Returns whether anything may follow."""
        if self._has_ended:
            return False
        content = self._receive(self._missing + _HEADER - len(self._header))
        self._incoming.write(content)
        if len(content) < self._missing:
            self._missing -= len(content)
        else:
            self._header, self._missing = self._header + content[self._missing :], 0
            if len(self._header) == _HEADER:
                self._begin_record()
        return bool(content)

    def _begin_record(self) -> None:
        self._missing, self._header = int.from_bytes(self._header[3:], "big"), b""
        self._records += 1
        if self._records - self._with_data > _WITHOUT_DATA + self._with_data // _WITH_DATA:
            raise ConnectionResetError(errno.ECONNRESET, "too many TLS records without data")

    def _receive(self, size: int) -> bytes:
        try:
            return os.read(self._sock.fileno(), size)  # most records are there: recv would wait first, and release the GIL twice
        except BlockingIOError:
            return self._sock.recv(size)

    def _flush(self) -> None:
        """Send what OpenSSL has written."""
        while self._unsent or self._outgoing.pending:
            self._unsent = self._unsent or memoryview(self._outgoing.read())
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
