"""HTTP to registries: pooled connections, redirects followed by hand, bodies taken as raw bytes.

The library does nothing beyond one request: no retries, no cookies, no netrc, no decoding (Accept-Encoding is identity). A redirect to
another host carries neither Authorization nor any header of the client's own. It never leaves TLS for plain HTTP unless the new host is an
insecure registry.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError
from urllib3.response import BaseHTTPResponse

from stowage.services.errors import RegistryFailure
from stowage.services.registry.body import UploadBody
from stowage.services.registry.certs import Trust
from stowage.services.registry.connections import read_piece
from stowage.services.registry.containerd_words import copy_error
from stowage.services.registry.failure import Failed, Failure
from stowage.services.registry.gohttp import is_lasting, reason
from stowage.services.registry.hosts import Hosts
from stowage.services.registry.pools import Pools
from stowage.services.registry.proxies import DIRECT, Proxies
from stowage.services.registry.redaction import public_url, without_query

_log = logging.getLogger(__name__)

CHUNK = 512 << 10
USER_AGENT = "Stowage"
MAX_ERROR_BODY = 64_000
"""How many bytes of an error answer are read, as in containerd."""
_MAX_REDIRECTS = 10
_CONNECT_SECONDS = 10
_UPLOAD_SECONDS = 300  # a registry reads a large blob again before it answers
_GATHER_SECONDS = 0.1
_PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "range", "user-agent"})


class Transport:
    """Sends requests to every registry for a process, from any thread. A server may be silent for `stall_seconds`.

    An answer, including its body unless that is a blob, may take five times as long (services/registry/connections.py).
    """

    def __init__(self, hosts: Hosts, *, proxies: Proxies = DIRECT, stall_seconds: float) -> None:
        self._hosts = hosts
        self._pools = Pools(proxies)
        self._timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=stall_seconds)
        self._upload_timeout = urllib3.Timeout(connect=_CONNECT_SECONDS, read=max(_UPLOAD_SECONDS, stall_seconds))

    def allows_insecure(self, host: str) -> bool:
        """Whether this `host` or `host:port` may be reached over plain HTTP or unverified TLS."""
        return host in self._hosts.insecure

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        *,
        insecure: bool,
        trust: Trust | None = None,
        within: Container[str] | None = None,
    ) -> BaseHTTPResponse:
        """Send a request without a body and follow its redirects, only to hosts in `within` if given; the caller reads or closes it.

        `trust` is by default what the folders of certificates say about the host. Raises Failed if there is no answer, and RegistryFailure
        for an invalid setting.
        """
        trust = self._hosts.trust(urlsplit(url).netloc) if trust is None else trust
        asked = url
        for _ in range(_MAX_REDIRECTS + 1):
            response = self.send(method, url, headers, insecure=insecure, trust=trust)
            location = response.get_redirect_location()
            if not location:
                return response
            discard(response)
            try:
                target, insecure = self._follow(url, location, within, insecure=insecure)
            except RegistryFailure as exc:
                raise Failed(Failure(method, asked, exc)) from exc
            if _leaves(url, target):
                headers = {name: value for name, value in headers.items() if name.lower() in _PUBLIC_HEADERS}
                trust = trust.elsewhere(self._hosts.trust(urlsplit(target).netloc))
            url = target
        raise Failed(Failure(method, asked, RegistryFailure(f"stopped after {_MAX_REDIRECTS} redirects")))

    def _follow(self, url: str, location: str, within: Container[str] | None, *, insecure: bool) -> tuple[str, bool]:
        """Where a redirect leads, and whether that host may be insecure; raises RegistryFailure if it may not be followed."""
        target = redirect_target(url, location)
        host = urlsplit(target).netloc
        if within is not None and host not in within:
            raise RegistryFailure(f"{urlsplit(url).netloc} redirects to {host}, which is not allowed")
        insecure = self.allows_insecure(host) if _leaves(url, target) else insecure
        check_redirect(url, target, insecure=insecure)
        return target, insecure

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | UploadBody | None = None,
        *,
        insecure: bool,
        trust: Trust | None = None,
    ) -> BaseHTTPResponse:
        """Send one request and return its answer, even a redirect; the caller reads or closes it. Raises as `request` does."""
        began = time.monotonic()
        try:
            trust = self._hosts.trust(urlsplit(url).netloc) if trust is None else trust
            response = self._pools.get(url, trust, insecure=insecure).request(
                method,
                url,
                body=body,
                headers={"Accept-Encoding": "identity", **_framing(body), **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
                timeout=self._timeout if body is None else self._upload_timeout,
            )
        except (HTTPError, OSError) as exc:
            _log.debug("%s %s: %s", method, public_url(url), reason(exc, url))
            raise Failed(Failure(method, url, exc, retry_after=None if is_lasting(exc) else 0)) from exc
        except ValueError:  # from http.client; its message may contain a secret
            raise Failed(Failure(method, url, ValueError("invalid URL or header field value"))) from None
        finally:
            if isinstance(body, UploadBody):
                body.end()
        response.url = url
        _log_answer(method, url, headers, response.status, began)
        return response


class BodyStream:
    """The bytes of a blob from `offset` to its end, as they arrive; `close` ends it early, from any thread.

    `suspect` is called if the connection breaks, so that the next try may go elsewhere.
    """

    def __init__(self, response: BaseHTTPResponse, offset: int, *, size: int, suspect: Callable[[], None] = lambda: None) -> None:
        self.offset = offset
        self._response = response
        self._missing = size - offset
        self._suspect = suspect
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks of up to 512 KiB; if the connection breaks or was closed, raises RegistryFailure after all bytes that arrived."""
        while chunk := self._read():
            yield chunk

    def close(self) -> None:
        """End the transfer; a thread that waits for the next chunk gets RegistryFailure at once."""
        with self._lock:
            self._closed = True
            if not self._reading:
                self._response.close()
                return
            with suppress(OSError, ValueError, RuntimeError):  # the last byte has just come, and the connection is back in its pool
                self._response.shutdown()

    def _read(self) -> bytes:
        with self._lock:
            if self._closed:
                raise RegistryFailure("failed to copy: context canceled")
            self._reading = True
        try:
            return self._gather()
        except (HTTPError, OSError, ValueError) as exc:
            self._suspect()
            raise copy_error("unexpected EOF" if isinstance(exc, ProtocolError) else reason(exc)) from exc
        finally:
            self._end_reading()

    def _gather(self) -> bytes:
        """What arrives within a moment, at most 512 KiB and nothing only at the end; an error is raised after the bytes before it."""
        pieces: list[bytes] = []
        room, until = CHUNK, 0.0
        while room:
            try:
                piece = read_piece(self._response, room)
            except (HTTPError, OSError, ValueError):
                if pieces:
                    break
                raise
            if not piece:
                break
            pieces.append(piece)
            room -= len(piece)
            now = time.monotonic()
            until = until or now + _GATHER_SECONDS
            if now >= until:
                break
        self._missing -= CHUNK - room
        if not pieces and self._missing > 0 and self._is_unframed():
            raise ProtocolError("the connection ended before the blob was complete")
        return b"".join(pieces)

    def _is_unframed(self) -> bool:
        """Whether only the end of the connection ends the body, so a complete body cannot be told from a part."""
        headers = self._response.headers
        return "Content-Length" not in headers and "chunked" not in headers.get("Transfer-Encoding", "").lower()

    def _end_reading(self) -> None:
        with self._lock:
            self._reading = False
            if self._closed:
                self._response.close()


def _log_answer(method: str, url: str, headers: Mapping[str, str], status: int, began: float) -> None:
    """Log a request for debugging, with the kind of its authorization and nothing else that is secret."""
    kind = headers.get("Authorization", "").partition(" ")[0] or "no authorization"
    _log.debug("%s %s with %s: %d in %d ms", method, public_url(url), kind, status, round((time.monotonic() - began) * 1000))


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


def _framing(body: bytes | UploadBody | None) -> dict[str, str]:
    """The length of a body that the library cannot measure."""
    return {"Content-Length": str(body.length)} if isinstance(body, UploadBody) else {}


def _leaves(source: str, target: str) -> bool:
    """Whether a redirect leads to a target that may not see the source's secrets: another host or port, or the same without TLS."""
    before, after = urlsplit(source), urlsplit(target)
    return before.netloc != after.netloc or (before.scheme, after.scheme) == ("https", "http")


def redirect_target(source: str, location: str) -> str:
    """Where a redirect leads; raises RegistryFailure for what is not a URL."""
    try:
        return urljoin(source, location)
    except ValueError as exc:
        raise RegistryFailure(f'failed to parse Location header "{without_query(location)[:128]}": {exc}') from exc


def check_redirect(source: str, target: str, *, insecure: bool) -> None:
    """Raise RegistryFailure for a redirect that is neither http nor https, or that leaves TLS without permission."""
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https"):
        raise RegistryFailure(f"unsupported protocol scheme in a redirect from {urlsplit(source).netloc}")
    if scheme == "http" and urlsplit(source).scheme == "https" and not insecure:
        raise RegistryFailure(f"{urlsplit(source).netloc} redirects from https to http")
