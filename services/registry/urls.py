"""Fetch a URL that a client named, without giving clients access to everything that the service can reach.

Each hop of a redirect is checked: http or https, and every address of the host allowed. The connection is made to the very address that was
checked, so a name that resolves differently a moment later changes nothing. No proxy is used, and nothing is decoded.

Error messages follow moby daemon/builder/remotecontext/remote.go (GetWithStatusError) and Go's net/http.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.response import BaseHTTPResponse

from stowage.services.errors import EngineError, Forbidden, InvalidContent, InvalidParameter, NotFound, RegistryFailure, Unauthorized
from stowage.services.oci.gojson import escape_problem, quote
from stowage.services.registry.connections import MAX_ERROR_BODY, SOCKET_OPTIONS, Pool, TLSPool, read_bounded, read_piece
from stowage.services.registry.credentials import without_query
from stowage.services.registry.hosts import Address, is_public
from stowage.services.registry.transport import USER_AGENT
from stowage.services.registry.words import reason, status_line, url_error

PUBLIC = "public"
"""The entry that allows every address of the public internet."""

_BAD_HOST_ESCAPE = re.compile(r"%(?!25|[89A-Fa-f][0-9A-Fa-f]).{0,2}", re.DOTALL)
"""In a host, only bytes beyond ASCII and the percent sign of a zone may be escaped."""

_PORT = re.compile(r"(:\d*)$")
_MAX_REDIRECTS = 10
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_STATUSES: dict[int, type[EngineError]] = {400: InvalidParameter, 401: Unauthorized, 403: Forbidden, 404: NotFound}


class Download:
    """The bytes at a URL. `size` is 0 if the server does not give it; `position` counts the bytes read."""

    def __init__(self, url: str, response: BaseHTTPResponse) -> None:
        self._url = url
        self._response = response
        length = response.headers.get("Content-Length", "")
        self.size = int(length) if length.isascii() and length.isdigit() and len(length) < 20 else 0
        self.position = 0
        self._closed = False

    def read(self, size: int, /) -> bytes:
        """1 to `size` bytes, and none only at the end; raises InvalidContent if the connection breaks off."""
        try:
            chunk = read_piece(self._response, size)
        except (HTTPError, OSError, ValueError) as exc:
            raise InvalidContent("unexpected EOF" if isinstance(exc, ProtocolError) else reason(exc)) from exc
        if self._closed:  # otherwise a body without a length would seem to be complete
            raise InvalidContent("unexpected EOF")
        self.position += len(chunk)
        return chunk

    def close(self) -> None:
        """End the transfer, from any thread; a thread that waits in `read` gets InvalidContent."""
        self._closed = True
        with suppress(OSError, ValueError, RuntimeError):
            self._response.shutdown()


class Downloads:
    """Archives that an import fetches by URL; `allowed` holds `public` and networks such as 10.0.0.0/8, `setting` is its name."""

    def __init__(self, allowed: tuple[str, ...], *, setting: str) -> None:
        self._allowed = allowed
        self._setting = setting

    def address(self, url: str) -> str:
        """The URL that will be asked for, with `http://` if it names no scheme.

        Raises InvalidParameter for what is not a URL, RegistryFailure if it leads nowhere, Forbidden if nothing may be fetched at all.
        """
        address = url if "://" in url else f"http://{url}"
        _split(address)
        if not self._allowed:
            raise Forbidden(f"importing from a URL is switched off on this server: set {self._setting} to allow it to fetch {url}")
        return address

    @contextmanager
    def open(self, address: str) -> Iterator[Download]:
        """Ask for this address and follow its redirects.

        Raises what `address` raises, NotFound for a host without an address, Forbidden for an address that is not allowed, RegistryFailure
        if there is no answer, and the kind of error that matches a status of 400 or more.
        """
        url = address
        for _ in range(_MAX_REDIRECTS):
            response = self._ask(url)
            location = response.get_redirect_location()
            if not location:
                break
            response.close()
            url = _redirect_target(url, location)
        else:
            raise RegistryFailure(f'Get "{without_query(url)}": stopped after {_MAX_REDIRECTS} redirects')
        try:
            _check_status(url, response)
            yield Download(url, response)
        finally:
            response.close()

    def _ask(self, url: str) -> BaseHTTPResponse:
        parts = _split(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        address = self._resolve(url, parts.hostname or "", port)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Host": _host_header(parts), "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
        try:
            return _pool(parts, str(address), port).urlopen(
                "GET", target, headers=headers, redirect=False, retries=False, preload_content=False, decode_content=False
            )
        except (HTTPError, OSError) as exc:
            raise RegistryFailure(url_error("GET", url, exc)) from exc

    def _resolve(self, url: str, host: str, port: int) -> Address:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            raise NotFound(f'Get "{url}": dial tcp: lookup {host}: no such host') from exc
        addresses = [ipaddress.ip_address(entry[4][0]) for entry in found]
        for address in addresses:
            if not _is_allowed(address, self._allowed):
                raise Forbidden(f"importing from {host} is not allowed: {self._setting} does not cover its address {address}")
        return addresses[0]


def _split(url: str) -> SplitResult:
    """The parts of a URL that can be fetched; raises InvalidParameter for what is not a URL, RegistryFailure if it leads nowhere."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError as exc:
        raise InvalidParameter(f'parse "{url}": {_host_problem(url)}') from exc
    if problem := _syntax_problem(parts):
        raise InvalidParameter(f'parse "{url}": {problem}')
    if parts.username is not None:
        raise InvalidParameter("a URL to import from must not hold a user name or password: they would be kept in the image's history")
    if parts.scheme not in ("http", "https"):
        raise RegistryFailure(f'Get "{without_query(url)}": unsupported protocol scheme "{parts.scheme}"')
    if not parts.netloc:
        raise RegistryFailure(f'Get "{without_query(url) if parts.path else parts.scheme + ":"}": http: no Host in request URL')
    if not parts.hostname or not port_is_valid or any(character <= " " or character == "\x7f" for character in url):
        raise InvalidParameter(f'Get "{url}": no valid host in request URL')
    return parts


def _host_problem(url: str) -> str:
    """What Go says about a host that cannot be parsed."""
    host = url.partition("://")[2].partition("/")[0]
    if "[" in host and "]" not in host:
        return "missing ']' in host"
    _, colon, port = host.rpartition(":")
    return f'invalid port ":{port}" after host' if colon else f'invalid host "{host}"'


def _syntax_problem(parts: SplitResult) -> str:
    """Go's error for a URL that cannot be parsed (net/url Parse); empty if it can."""
    if not parts.scheme:
        return "missing protocol scheme"
    escape = _BAD_HOST_ESCAPE.search(parts.netloc.rpartition("@")[2])
    return f"invalid URL escape {quote(escape[0])}" if escape else escape_problem(parts.path)


def _redirect_target(source: str, location: str) -> str:
    try:
        return urljoin(source, location)
    except ValueError as exc:
        header = without_query(location)[:128]
        raise RegistryFailure(f'Get "{without_query(source)}": failed to parse Location header "{header}": {exc}') from exc


def _host_header(parts: SplitResult) -> str:
    """The value of the Host header. Only the host is encoded; the port would become a part of its last label."""
    host, *port = _PORT.split(parts.netloc)
    return host.encode("idna").decode() + "".join(port)


def _pool(parts: SplitResult, address: str, port: int) -> urllib3.HTTPConnectionPool:
    """A connection to exactly this address; the certificate must still be the host's."""
    if parts.scheme == "http":
        return Pool(address, port, timeout=_TIMEOUT, socket_options=SOCKET_OPTIONS)
    return TLSPool(
        address,
        port,
        timeout=_TIMEOUT,
        cert_reqs="CERT_REQUIRED",
        server_hostname=parts.hostname,
        assert_hostname=parts.hostname,
        socket_options=SOCKET_OPTIONS,
    )


def _is_allowed(address: Address, allowed: tuple[str, ...]) -> bool:
    networks = [ipaddress.ip_network(entry) for entry in allowed if entry != PUBLIC]
    return any(address in network for network in networks) or (PUBLIC in allowed and is_public(address))


def _check_status(url: str, response: BaseHTTPResponse) -> None:
    if response.status < HTTPStatus.BAD_REQUEST:
        return
    try:
        body = read_bounded(response, MAX_ERROR_BODY)[:MAX_ERROR_BODY].decode("utf-8", "replace").strip()
    except RegistryFailure:
        body = "error reading body"
    kind = _STATUSES.get(response.status, RegistryFailure)
    raise kind(f"failed to GET {without_query(url)} with status {status_line(response.status)}: {body}")
