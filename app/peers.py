"""Peers of connections: from other machines only clients that TLS has verified are served, under any WSGI server.

`stowage serve` refuses addresses that other machines can reach before it listens on them. Other servers listen where they are configured
to, so each request's peer is checked. What a proxy claims in headers or by the PROXY protocol is ignored: anyone can claim to be
127.0.0.1. A proxy on this machine is itself the peer, and decides whom it lets through.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

from stowage.app.middleware import answer_plainly

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ADMITS = "stowage.admits"
"""Key of the application's extensions: a callable that returns whether requests of this environment are served."""

_REFUSAL = (
    b'{"message":"Requests of other machines are refused, since anyone who is served owns the store; '
    b"set STOWAGE_TLS_CERT, STOWAGE_TLS_KEY and STOWAGE_TLS_CA for `stowage serve`, "
    b"or --certfile, --keyfile, --ca-certs and --cert-reqs 2 of gunicorn, so that clients are verified, "
    b'or STOWAGE_ALLOW_INSECURE_TCP=1 if everyone there may own the store."}\n'
)

_ADDRESSES = 64
"""How many answers about addresses are kept."""

_CREDENTIALS = struct.Struct("iII")
"""struct ucred: pid, uid, gid (unix(7), SO_PEERCRED)."""

_SHORT_TYPES = {
    "commonName": "CN",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "stateOrProvinceName": "ST",
    "localityName": "L",
    "domainComponent": "DC",
    "userId": "UID",
}
_SPECIAL = re.compile(r'[,+"\\\\<>;]|^[ #]| $')
"""What RFC 4514 escapes in a value."""


class PeerGuard:
    """Refuses requests from other machines unless TLS has verified the client's certificate: what the application `admits` is served."""

    def __init__(self, application: WSGIApplication, admits: Callable[[WSGIEnvironment], bool]) -> None:
        self._application, self._admits = application, admits

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if self._admits(environ):
            return self._application(environ, start_response)
        return answer_plainly(environ, start_response, "403 Forbidden", _REFUSAL)


def is_admitted(environ: WSGIEnvironment) -> bool:
    """Whether the peer is on this machine, or TLS has verified it."""
    return _is_local(environ) or _is_verified(environ)


def describe_peer(environ: WSGIEnvironment) -> dict[str, str | int]:
    """Who sent the request, for the log: `uid` and `pid` of the process that connected to the unix socket; otherwise the `address`, and
    the `subject` of the certificate that TLS has verified. Only gunicorn exposes the connection; with other servers the address is known.
    """
    connection = environ.get("gunicorn.socket")
    try:
        if connection is not None and connection.family == socket.AF_UNIX:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
            pid, uid, _ = _CREDENTIALS.unpack(credentials)
            return {"uid": uid, "pid": pid}
        read = getattr(connection, "getpeercert", None)
        certificate = read() if read is not None else None
    except (OSError, ValueError):  # the connection is closed
        certificate = None
    peer: dict[str, str | int] = {"address": address} if (address := _address(environ)) else {}
    return peer | ({"subject": _subject(certificate["subject"])} if certificate else {})


def _address(environ: WSGIEnvironment) -> str:
    host, port = environ.get("REMOTE_ADDR", ""), environ.get("REMOTE_PORT", "")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}".rstrip(":")


def _subject(names: Iterable[Iterable[tuple[str, str]]]) -> str:
    """A name as text, the last part first, as in nginx's $ssl_client_s_dn (RFC 4514)."""
    parts = ["+".join(f"{_SHORT_TYPES.get(kind, kind)}={_SPECIAL.sub(_escaped, value)}" for kind, value in part) for part in names]
    return ",".join(reversed(parts))


def _escaped(match: re.Match[str]) -> str:
    return "\\" + match[0]


def _is_local(environ: WSGIEnvironment) -> bool:
    """Whether the peer is on this machine. Only gunicorn exposes the connection. With other servers REMOTE_ADDR counts, which is empty
    for a unix socket.
    """
    connection = environ.get("gunicorn.socket")
    if connection is None:
        return _is_loopback(environ.get("REMOTE_ADDR") or "localhost")
    if connection.family == socket.AF_UNIX:
        return True
    try:
        return _is_loopback(connection.getpeername()[0])
    except OSError:  # the client has already gone, so its address is unknown
        return False


def _is_verified(environ: WSGIEnvironment) -> bool:
    """Whether TLS has verified the client's certificate; getpeercert() returns nothing for one that it did not verify.

    What counts is that the connection has this method, not its class: a worker may hand out a wrapper of the socket.
    """
    read = getattr(environ.get("gunicorn.socket"), "getpeercert", None)
    return read is not None and bool(read())


@lru_cache(_ADDRESSES)
def _is_loopback(host: str) -> bool:
    """Whether this is a loopback address, including IPv4 mapped into IPv6; `localhost` is what waitress calls a unix socket."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
