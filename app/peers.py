"""Who is at the other end of a connection: of other machines, only clients that TLS has verified, under whatever WSGI server.

`stowage serve` refuses addresses that other machines reach before it listens on them. Another server listens where it was told to, so
what is left is to look at each request's peer. What a proxy claims in headers or by the PROXY protocol is not looked at: anyone can
claim to be 127.0.0.1. A proxy on this machine is the peer, and decides itself whom it lets through.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_REFUSAL = (
    b'{"message":"Requests of other machines are refused, since whoever is served owns the store; '
    b"set STOWAGE_TLS_CERT, STOWAGE_TLS_KEY and "
    b"STOWAGE_TLS_CA for `stowage serve`, or --certfile, --keyfile, --ca-certs and --cert-reqs 2 of gunicorn, "
    b"so that clients are verified, "
    b'or STOWAGE_ALLOW_INSECURE_TCP=1 if everyone there may own the store."}\n'
)


class PeerGuard:
    """Refuses requests from other machines unless their connection has verified the client's certificate."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if _is_local(environ) or _is_verified(environ):
            return self._application(environ, start_response)
        start_response("403 Forbidden", [("Content-Type", "application/json"), ("Content-Length", str(len(_REFUSAL)))])
        return [_REFUSAL]


def _is_local(environ: WSGIEnvironment) -> bool:
    """Whether the peer is on this machine. Only gunicorn hands out the connection; of other servers REMOTE_ADDR counts, empty for a unix
    socket.
    """
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return _is_loopback(environ.get("REMOTE_ADDR") or "localhost")
    if connection.family == socket.AF_UNIX:
        return True
    try:
        return _is_loopback(connection.getpeername()[0])
    except OSError:  # the client is gone already, and nobody knows who it was
        return False


def _is_verified(environ: WSGIEnvironment) -> bool:
    """Whether TLS has verified a certificate of the client; getpeercert() has nothing to show of one that it did not verify.

    What counts is that the connection can show one, not its class: a worker may hand out something before the socket.
    """
    read = getattr(environ.get("gunicorn.socket"), "getpeercert", None)
    return read is not None and bool(read())


def _is_loopback(host: str) -> bool:
    """Whether this is a loopback address, also an IPv4 one mapped into IPv6; `localhost` is what waitress calls a unix socket."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
