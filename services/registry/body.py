"""The body of an upload: a part of a file, sent piece by piece.

A connection that sends such a body registers with it (services/registry/connections.py), since each piece has its own timeout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from urllib3.connection import HTTPConnection

from stowage.services.errors import RegistryFailure
from stowage.services.registry.protocol import OpenBlob

PIECE = 256 << 10  # five uploads on a line of 100 KB a second each send one piece within 13 seconds


class UploadBody:
    """The bytes of an open blob from `offset` to `size`. A registry may take `stall_seconds` to accept each piece.

    `advance` is called with the offset after each piece and may raise to end the upload.
    """

    def __init__(self, blob: OpenBlob, *, offset: int, size: int, stall_seconds: float, advance: Callable[[int], None]) -> None:
        self.length = size - offset
        self._blob = blob
        self._offset = offset
        self._size = size
        self._stall_seconds = stall_seconds
        self._advance = advance
        self._connection: HTTPConnection | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Yield small pieces; each iteration starts from the beginning."""
        position = self._offset
        self._blob.seek(position)
        self._advance(position)
        self._allow_time()
        while position < self._size:
            piece = self._blob.read(min(PIECE, self._size - position))
            if not piece:
                raise RegistryFailure("failed to read the blob: unexpected EOF")
            yield piece
            position += len(piece)
            self._advance(position)

    def begin(self, connection: HTTPConnection) -> None:
        """Note the connection that sends this body."""
        self._connection = connection

    def end(self) -> None:
        """Forget the connection: its answer has arrived, and its next request belongs to someone else."""
        self._connection = None

    def _allow_time(self) -> None:
        """Set the timeout for each piece; otherwise the connection would use its connect timeout for sending."""
        stream = self._connection.sock if self._connection else None
        if stream is not None:
            stream.settimeout(self._stall_seconds)
