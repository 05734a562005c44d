"""Pooled connections, by the trust of their TLS and by proxy."""

from __future__ import annotations

import ssl
import threading
from collections import OrderedDict
from dataclasses import replace
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import InsecureRequestWarning

from stowage.services.errors import RegistryFailure
from stowage.services.registry.certs import Trust
from stowage.services.registry.connections import POOLS, SOCKET_OPTIONS
from stowage.services.registry.proxies import Proxies

_CONNECTIONS_PER_HOST = 16
_KEPT = 16


class Pools:
    """The connections of a process, usable from any thread."""

    def __init__(self, proxies: Proxies) -> None:
        self._proxies = proxies
        self._lock = threading.Lock()
        self._managers: OrderedDict[tuple[Trust, str], urllib3.PoolManager] = OrderedDict()

    def get(self, url: str, trust: Trust, *, insecure: bool) -> urllib3.PoolManager:
        """The pools for a request to this URL; raises RegistryFailure for invalid certificates or proxies."""
        key = (replace(trust, verified=trust.verified and not insecure), self._proxies.proxy_of(url))
        with self._lock:
            if key not in self._managers:
                self._managers[key] = _manager(*key)
                if len(self._managers) > _KEPT:  # changed certificates leave their old pools behind
                    self._managers.popitem(last=False)
            self._managers.move_to_end(key)
            return self._managers[key]


def _manager(trust: Trust, proxy: str) -> urllib3.PoolManager:
    if not trust.verified:
        urllib3.disable_warnings(InsecureRequestWarning)  # the operator listed these hosts; a warning for each would say nothing new
    manager = _through(proxy, trust.context()) if proxy else _directly(trust.context())
    manager.pool_classes_by_scheme = POOLS
    return manager


def _directly(context: ssl.SSLContext) -> urllib3.PoolManager:
    return urllib3.PoolManager(num_pools=32, maxsize=_CONNECTIONS_PER_HOST, ssl_context=context, socket_options=SOCKET_OPTIONS)


def _through(proxy: str, context: ssl.SSLContext) -> urllib3.PoolManager:
    try:
        parts = urlsplit(proxy)
        address = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}" if parts.username else None
        return urllib3.ProxyManager(
            address,
            num_pools=32,
            maxsize=_CONNECTIONS_PER_HOST,
            proxy_headers=urllib3.make_headers(proxy_basic_auth=credentials),
            ssl_context=context,
            socket_options=SOCKET_OPTIONS,
        )
    except ValueError as exc:  # urllib3's errors about URLs are ValueErrors
        raise RegistryFailure("the proxy in the environment is not the URL of an HTTP proxy") from exc
