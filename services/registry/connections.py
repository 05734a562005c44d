"""The connections of the client.

They register with the operation that they work for. They distinguish a failed handshake from a later failure. They read an answer for a
bounded time, however slowly its bytes arrive.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.client import HTTPException, HTTPResponse, parse_headers
from typing import TYPE_CHECKING, Protocol

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, SSLError
from urllib3.response import BaseHTTPResponse

from stowage.services.errors import RegistryFailure
from stowage.services.registry.operations import current_operation, shut_down_after
from stowage.services.tcp_keepalive import KEEPALIVE

if TYPE_CHECKING:
    from typing_extensions import Buffer


_ADDRESSES_SECONDS = 30
"""How long further addresses of a host are tried; each may take the whole connect timeout."""

_HEAD_SECONDS = 60
"""How long a head may take once its first byte is here; the whole head may take no longer than the server may be silent."""

BODY_SILENCES = 5
"""A body that is a document may take this many times as long as the server may be silent."""

_MAX_INFORMATIONAL = 5
"""How many informational answers (1xx) may come before an answer, as in Go's client."""
_INFORMATIONAL = set(range(100, 200)) - {101}

PIECE = 256 << 10  # five uploads on a line of 100 KB a second each send one piece within 13 seconds
MAX_ERROR_BODY = 64_000
"""How many bytes of an error answer are read, as in containerd."""

SOCKET_OPTIONS = [*HTTPConnection.default_socket_options, *KEEPALIVE]


def read_piece(response: BaseHTTPResponse, size: int) -> bytes:
    """Up to `size` bytes of an answer that may have any length, such as a blob; none only at its end.

    Each piece, with the chunk that frames it and the trailers after it, has a time limit of its own: as long as the server may be silent.
    """
    answer = getattr(response, "_original_response", None)
    if isinstance(answer, _Answer):
        answer.begin_piece()
    return response.read1(size, decode_content=False)


def read_bounded(response: BaseHTTPResponse, limit: int, *, arrived: Callable[[int], None] = lambda _: None) -> bytes:
    """The whole body, or its first `limit` + 1 bytes if it is longer; closes the response. Raises RegistryFailure.

    `arrived` is called with the size of each piece, and may raise.
    """
    body = bytearray()
    try:  # `read1`, since `read` would take memory for the limit, however little arrives
        while len(body) <= limit and (chunk := response.read1(limit + 1 - len(body), decode_content=False)):
            arrived(len(chunk))
            body += chunk
        return bytes(body)
    except (HTTPError, OSError, ValueError) as exc:
        failure = RegistryFailure("failed to read the registry's answer: unexpected EOF")
        failure.retry_after = 0
        raise failure from exc
    finally:
        response.close()


def discard(response: BaseHTTPResponse) -> None:
    """Finish with a response whose body does not matter; its connection is kept if the body is short."""
    with suppress(RegistryFailure):
        read_bounded(response, MAX_ERROR_BODY)


class OpenBlob(Protocol):
    """An open blob on its way to a repository; it raises Damaged instead of giving its last bytes if the others are not the blob's."""

    def seek(self, offset: int, /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


class UploadBody:
    """The bytes of an open blob from `offset` to `size`, sent piece by piece. A registry may take `stall_seconds` to accept each piece.

    `advance` is called with the offset after each piece and may raise to end the upload.
    """

    def __init__(self, blob: OpenBlob, *, offset: int, size: int, stall_seconds: float, advance: Callable[[int], None]) -> None:
        self.length = size - offset
        self.stall_seconds = stall_seconds
        self._blob = blob
        self._offset = offset
        self._size = size
        self._advance = advance

    def __iter__(self) -> Iterator[bytes]:
        """Yield small pieces; each iteration starts from the beginning."""
        position = self._offset
        self._blob.seek(position)
        self._advance(position)
        while position < self._size:
            piece = self._blob.read(min(PIECE, self._size - position))
            if not piece:
                raise RegistryFailure("failed to read the blob: unexpected EOF")
            yield piece
            position += len(piece)
            self._advance(position)


class _Answer(HTTPResponse):
    """An answer that must arrive within a bounded time. Its operation knows the socket until the answer is complete."""

    def __init__(self, sock: socket.socket, *args: object, **kwargs: object) -> None:
        super().__init__(sock, *args, **kwargs)  # type: ignore[arg-type]
        self._socket = sock
        self._operation = current_operation()
        self._silence = sock.gettimeout() or _HEAD_SECONDS
        self._deadline = _Deadline(self.fp.detach(), sock, self._silence)
        self.fp = io.BufferedReader(self._deadline)
        try:
            self._operation.begin(sock)
        except RegistryFailure:
            self.close()
            raise

    def begin(self) -> None:
        """Read the head; the body may then take longer."""
        super().begin()
        self._deadline.allow(BODY_SILENCES * self._silence)

    def begin_piece(self) -> None:
        self._deadline.allow(self._silence)

    def _read_status(self) -> tuple[str, int, str]:
        """The status line of the answer itself. http.client would skip any number of 100s, and take another 1xx for the answer."""
        for _ in range(_MAX_INFORMATIONAL + 1):
            version, status, reason = super()._read_status()  # type: ignore[misc]
            if status not in _INFORMATIONAL:
                return version, status, reason
            parse_headers(self.fp)
        self._close_conn()
        raise HTTPException("net/http: too many 1xx informational responses")

    def _read_and_discard_trailer(self) -> None:
        """Skip the trailers, of which http.client would read any number; raises HTTPException for more than a head may have."""
        parse_headers(self.fp)

    def _read_next_chunk_size(self) -> int:
        """Refuse a negative size, as Go does: http.client would read more than it is asked for, up to the end of the connection."""
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            self._close_conn()
            raise ValueError(size)
        return size

    def _close_conn(self) -> None:
        """Called when the last byte has been read or is not wanted, before the connection is reused."""
        self._operation.end(self._socket)
        super()._close_conn()  # type: ignore[misc]


class _Deadline(io.RawIOBase):
    """The bytes of a connection until a deadline; raises TimeoutError after it. No byte may take longer than the `silence`.

    The first deadline is that of the head.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, silence: float) -> None:
        self._raw = raw
        self._socket = sock
        self._silence = silence
        self._is_over = False
        self._has_begun = False
        self.allow(silence)

    def allow(self, seconds: float) -> None:
        """Set a new deadline, unless the last one has passed: the part of a frame that had been read by then is lost."""
        if not self._is_over:
            self._until = time.monotonic() + seconds

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int | None:
        self._socket.settimeout(min(self._left(), self._silence))
        try:
            with shut_down_after(self._until, self._socket):
                received = self._raw.readinto(buffer)
        except OSError:
            self._left()  # what a connection that is shut down raises depends on TLS
            raise
        if not received:
            self._left()
        if not self._has_begun:
            self._has_begun = True
            self._until = min(self._until, time.monotonic() + _HEAD_SECONDS)
        return received

    def _left(self) -> float:
        """Seconds until the deadline; raises TimeoutError if there are none, and once that has happened, for good."""
        left = self._until - time.monotonic()
        if self._is_over or left <= 0:
            self._is_over = True
            raise TimeoutError("timed out")
        return left

    def close(self) -> None:
        super().close()
        self._raw.close()


class _Connection(HTTPConnection):
    """A connection of an operation."""

    response_class = _Answer

    def connect(self) -> None:
        super().connect()
        self._begin()

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that accepts. urllib3 would try all, each for the whole timeout, though the client has left."""
        name, until = self._dns_host, time.monotonic() + _ADDRESSES_SECONDS
        *others, last = self._addresses() or [name]
        try:
            for self._dns_host in others:
                current_operation().check()
                with suppress(ConnectTimeoutError, NewConnectionError):
                    return super()._new_conn()
                if time.monotonic() > until:
                    break
            self._dns_host = last
            current_operation().check()
            return super()._new_conn()
        finally:
            self._dns_host = name

    def _addresses(self) -> list[str]:
        """The addresses of the host, each once; none if its name is unknown."""
        with suppress(OSError):
            found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(address[0]) for *_, address in found))
        return []

    def request(  # type: ignore[override]  # urllib3's signature, not http.client's
        self, method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None, **options: bool
    ) -> None:
        if self.sock is None:
            self.connect()
        else:
            self._begin()
        if isinstance(body, UploadBody):
            self.sock.settimeout(body.stall_seconds)  # urllib3 sends with the timeout for connecting
        super().request(method, url, body, headers, **options)  # type: ignore[arg-type]

    def _begin(self) -> None:
        """Register the connection with the operation of this thread."""
        current_operation().begin(self.sock)


class HandshakeError(SSLError):
    """The server does not speak TLS, or not with this client."""


class _TLSConnection(_Connection, HTTPSConnection):
    """The same over TLS; raises HandshakeError if the TLS handshake fails."""

    def connect(self) -> None:
        try:
            super().connect()
        except (ssl.SSLError, ConnectionError, TimeoutError) as exc:
            if self.proxy and not self.has_connected_to_proxy:
                raise
            raise HandshakeError(exc) from exc


class Pool(HTTPConnectionPool):
    """Connections to one server."""

    ConnectionCls = _Connection


class TLSPool(HTTPSConnectionPool):
    """Connections to one server over TLS."""

    ConnectionCls = _TLSConnection


POOLS = {"http": Pool, "https": TLSPool}
"""The pools of these connections, by the scheme of the URL."""
