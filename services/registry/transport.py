"""HTTP to registries: kept connections, redirects followed by hand, bodies taken as the bytes that came.

Nothing is asked of or done by the library beyond one request: no retries, no cookies, no netrc, no decoding (Accept-Encoding is identity).
A redirect to another host takes along neither Authorization nor any header of the client's own, and never leaves TLS for plain HTTP unless
the new host is an insecure registry.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from urllib.parse import urljoin, urlsplit

import urllib3
from urllib3.exceptions import ConnectTimeoutError, HTTPError, InsecureRequestWarning, NewConnectionError, ReadTimeoutError, SSLError
from urllib3.response import BaseHTTPResponse
from urllib3.util.ssl_ import create_urllib3_context

from services.errors import RegistryFailure
from services.oci.digest import Digest
from services.registry.errors import MAX_ERROR_BODY, connection_failure, stream_failure
from services.registry.hosts import InsecureHosts

CHUNK = 1 << 20
_MAX_REDIRECTS = 10
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
_CONNECTIONS_PER_HOST = 16
_PUBLIC_HEADERS = frozenset({"accept", "accept-encoding", "range", "user-agent"})


class Transport:
    """Sends requests for every registry of a process, from any thread."""

    def __init__(self, insecure: InsecureHosts) -> None:
        self._insecure = insecure

    def allows_insecure(self, host: str) -> bool:
        """Whether this `host` or `host:port` may be spoken to in plain HTTP or unverified TLS."""
        return host in self._insecure

    def request(self, method: str, url: str, headers: Mapping[str, str], *, insecure: bool) -> BaseHTTPResponse:
        """Send a request without body and follow its redirects; the caller reads or closes the response.

        Raises RegistryFailure, caused by the library's own error, where there is no answer.
        """
        for _ in range(_MAX_REDIRECTS + 1):
            response = self._send(method, url, headers, insecure)
            location = response.get_redirect_location()
            if not location:
                return response
            discard(response)
            target = urljoin(url, location)
            if urlsplit(target).netloc != urlsplit(url).netloc:
                headers = {name: value for name, value in headers.items() if name.lower() in _PUBLIC_HEADERS}
                insecure = self.allows_insecure(urlsplit(target).netloc)
            _check_redirect(url, target, insecure)
            url = target
        raise RegistryFailure(f"stopped after {_MAX_REDIRECTS} redirects")

    def _send(self, method: str, url: str, headers: Mapping[str, str], insecure: bool) -> BaseHTTPResponse:
        pools = self._unverified if insecure else self._verified
        try:
            response = pools.request(
                method,
                url,
                headers={"Accept-Encoding": "identity", **headers},
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as exc:
            raise connection_failure(method, url, exc) from exc
        response.url = url
        return response

    @cached_property
    def _verified(self) -> urllib3.PoolManager:
        return _pools(ssl.create_default_context())

    @cached_property
    def _unverified(self) -> urllib3.PoolManager:
        urllib3.disable_warnings(InsecureRequestWarning)  # the operator listed these hosts; a warning for each would tell nothing new
        return _pools(create_urllib3_context(cert_reqs=ssl.CERT_NONE))


class BodyStream:
    """The bytes of a blob from `offset` to its end, as they arrive; ended early by `close` from any thread."""

    def __init__(self, response: BaseHTTPResponse, digest: Digest, offset: int) -> None:
        self.offset = offset
        self._response = response
        self._digest = digest
        self._lock = threading.Lock()
        self._reading = False
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        """Yield chunks of up to 1 MiB; raises RegistryFailure where the connection breaks or was closed."""
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
                raise RegistryFailure(f"failed to copy {self._digest}: context canceled")
            self._reading = True
        try:
            return self._response.read(CHUNK, decode_content=False)
        except (HTTPError, OSError, ValueError) as exc:
            raise stream_failure(self._digest, exc) from exc
        finally:
            self._end_reading()

    def _end_reading(self) -> None:
        with self._lock:
            self._reading = False
            if self._closed:
                self._response.close()


def read_bounded(response: BaseHTTPResponse, limit: int) -> bytes:
    """The whole body, or its first `limit` + 1 bytes where it is longer; closes the response. Raises RegistryFailure."""
    body = b""
    try:
        while len(body) <= limit and (chunk := response.read(limit + 1 - len(body), decode_content=False)):
            body += chunk
        return body
    except (HTTPError, OSError) as exc:
        raise RegistryFailure("failed to read the registry's answer: unexpected EOF") from exc
    finally:
        response.close()


def discard(response: BaseHTTPResponse) -> None:
    """Finish with a response whose body does not matter; its connection is kept where the body was short."""
    with suppress(RegistryFailure):
        read_bounded(response, MAX_ERROR_BODY)


def suggests_plain_http(failure: RegistryFailure, host: str) -> bool:
    """Whether a failed https request may succeed as http: the server does not speak TLS, or nothing listens at the default port."""
    cause = failure.__cause__
    if isinstance(cause, SSLError | ReadTimeoutError):
        return True
    if isinstance(cause, NewConnectionError | ConnectTimeoutError):
        return urlsplit(f"//{host}").port is None
    return isinstance(cause, HTTPError | OSError)


def _pools(context: ssl.SSLContext) -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=32, maxsize=_CONNECTIONS_PER_HOST, timeout=_TIMEOUT, ssl_context=context)


def _check_redirect(source: str, target: str, insecure: bool) -> None:
    scheme = urlsplit(target).scheme
    if scheme not in ("http", "https"):
        raise RegistryFailure(f"unsupported protocol scheme in a redirect of {urlsplit(source).netloc}")
    if scheme == "http" and urlsplit(source).scheme == "https" and not insecure:
        raise RegistryFailure(f"{urlsplit(source).netloc} redirects from https to http")
