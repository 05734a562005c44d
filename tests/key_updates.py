"""A TLS 1.3 client that can send KeyUpdate messages, which Python's ssl cannot: the system's OpenSSL does, called through ctypes."""

from __future__ import annotations

import ctypes
import ctypes.util
import socket
from pathlib import Path
from typing import Any, Self

import pytest

_PEM = 1
_TLS_1_3 = 0x0304
_SET_MIN_PROTO_VERSION = 123


class KeyUpdates:
    """A client with a certificate on a connected socket. Its calls release the GIL."""

    def __init__(self, connection: socket.socket, certificate: Path, key: Path) -> None:
        self._libssl = _load()
        self._connection = connection
        connection.setblocking(True)  # OpenSSL uses the descriptor itself
        context = self._libssl.SSL_CTX_new(self._libssl.TLS_client_method())
        self._libssl.SSL_CTX_ctrl(context, _SET_MIN_PROTO_VERSION, _TLS_1_3, None)
        assert self._libssl.SSL_CTX_use_certificate_file(context, bytes(certificate), _PEM) == 1
        assert self._libssl.SSL_CTX_use_PrivateKey_file(context, bytes(key), _PEM) == 1
        self._ssl = self._libssl.SSL_new(context)
        self._libssl.SSL_CTX_free(context)
        self._libssl.SSL_set_fd(self._ssl, connection.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._libssl.SSL_free(self._ssl)
        self._connection.close()

    def shake(self) -> bool:
        """Make the handshake, and return whether the server has taken part."""
        return bool(self._libssl.SSL_connect(self._ssl) == 1)

    def send(self, content: bytes) -> bool:
        return bool(self._libssl.SSL_write(self._ssl, content, len(content)) == len(content))

    def recv(self, size: int) -> bytes:
        content = ctypes.create_string_buffer(size)
        received = self._libssl.SSL_read(self._ssl, content, size)
        return content.raw[: max(0, received)]

    def update(self, *, requested: bool = False) -> bool:
        """Send a KeyUpdate, with or without a request that the server does the same. Returns whether it could be sent."""
        self._libssl.SSL_key_update(self._ssl, int(requested))
        return bool(self._libssl.SSL_do_handshake(self._ssl) == 1)


def _load() -> Any:
    name = ctypes.util.find_library("ssl")
    if name is None:
        pytest.skip("there is no libssl")
    libssl = ctypes.CDLL(name)
    for function in ("TLS_client_method", "SSL_CTX_new", "SSL_new"):
        getattr(libssl, function).restype = ctypes.c_void_p
    for function, *kinds in _SIGNATURES:
        getattr(libssl, function).argtypes = kinds
    return libssl


_SIGNATURES: tuple[tuple[Any, ...], ...] = (
    ("SSL_CTX_new", ctypes.c_void_p),
    ("SSL_CTX_ctrl", ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p),
    ("SSL_CTX_use_certificate_file", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
    ("SSL_CTX_use_PrivateKey_file", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
    ("SSL_CTX_free", ctypes.c_void_p),
    ("SSL_new", ctypes.c_void_p),
    ("SSL_free", ctypes.c_void_p),
    ("SSL_set_fd", ctypes.c_void_p, ctypes.c_int),
    ("SSL_connect", ctypes.c_void_p),
    ("SSL_write", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
    ("SSL_read", ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int),
    ("SSL_key_update", ctypes.c_void_p, ctypes.c_int),
    ("SSL_do_handshake", ctypes.c_void_p),
)
