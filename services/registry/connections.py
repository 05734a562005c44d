"""The connections of the client: they tell the body of an upload who sends it, and a handshake that fails from what fails later."""

from __future__ import annotations

import ssl
from collections.abc import Mapping

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import SSLError

from services.registry.body import UploadBody


class _Connection(HTTPConnection):
    """A connection that tells a body who sends it."""

    def request(  # type: ignore[override]  # as urllib3 has it, not http.client
        self,
        method: str,
        url: str,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        *,
        chunked: bool = False,
        preload_content: bool = True,
        decode_content: bool = True,
        enforce_content_length: bool = True,
    ) -> None:
        if isinstance(body, UploadBody):
            body.begin(self)
        super().request(
            method,
            url,
            body,  # type: ignore[arg-type]
            headers,
            chunked=chunked,
            preload_content=preload_content,
            decode_content=decode_content,
            enforce_content_length=enforce_content_length,
        )


class HandshakeError(SSLError):
    """The server does not speak TLS, or not with us."""


class _TLSConnection(_Connection, HTTPSConnection):
    """The same over TLS; raises HandshakeError for a connection that gets no further than to be made."""

    def connect(self) -> None:
        try:
            super().connect()
        except (ssl.SSLError, ConnectionError, TimeoutError) as exc:
            if self.proxy and not self.has_connected_to_proxy:
                raise
            raise HandshakeError(exc) from exc


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


POOLS = {"http": _Pool, "https": _TLSPool}
"""The pools of these connections, by the scheme of the URL."""
