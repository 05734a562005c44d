"""The registry client of a process: it combines endpoints, transport and credentials."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stowage.services.errors import NotFound
from stowage.services.oci.reference import Reference
from stowage.services.registry.auth import Realms, try_credentials
from stowage.services.registry.credentials import Credentials, hiding
from stowage.services.registry.exchange import Exchange
from stowage.services.registry.hosts import HostNames, Hosts
from stowage.services.registry.repository import Repository
from stowage.services.registry.search import HUB_INDEX, FoundRepository, find_index, search_index
from stowage.services.registry.transport import DIRECT, USER_AGENT, Proxies, Transport
from stowage.services.registry.upload import Destination


class RegistryClient:
    """Opens repositories and shares its connections among them.

    `insecure` lists networks, hosts and `host:port`s that may be reached over plain HTTP or unverified TLS. `mirrors` are URLs that are
    asked first for docker.io's repositories. `certs` are folders of certificates and hosts.toml files. `hub_index` is the URL of the
    index that is searched for docker.io. `auth_realms` are the hosts that may be token servers; if empty, any host may. `foreign_hosts`
    are the hosts from which layers that a manifest names by URL may be fetched. A server that sends nothing, or accepts nothing, for
    `stall_seconds` is given up. So is one that has not sent the head of an answer by then, or that takes a minute from its first byte on,
    and one whose answer, other than a blob, is not complete after five times that.
    """

    def __init__(
        self,
        *,
        stall_seconds: float,
        insecure_setting: str,
        auth_realms_setting: str,
        insecure: tuple[str, ...] = (),
        mirrors: tuple[str, ...] = (),
        certs: tuple[Path, ...] = (),
        hub_index: str = HUB_INDEX,
        auth_realms: tuple[str, ...] = (),
        foreign_hosts: tuple[str, ...] = (),
        proxies: Proxies = DIRECT,
    ) -> None:
        self._hosts = Hosts(insecure=insecure, mirrors=mirrors, certs=certs)
        self._hub_index = hub_index
        self._foreign_hosts = HostNames(foreign_hosts)
        self._transport = Transport(self._hosts, proxies=proxies, stall_seconds=stall_seconds)
        self._stall_seconds = stall_seconds
        self._realms = Realms(self._transport, HostNames(auth_realms), setting=auth_realms_setting)
        self._insecure_setting = insecure_setting

    @contextmanager
    def repository(
        self, reference: Reference, *, credentials: Credentials | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Repository]:
        """Open the repository of this reference for one operation; `headers` (X-Meta-*) are sent with every request to its registry.

        No request is sent yet. Errors raised inside contain no secrets.
        """
        endpoints = self._hosts.endpoints(reference.domain)
        exchange = Exchange(
            self._transport, self._realms, reference, endpoints, credentials, headers or {}, foreign_hosts=self._foreign_hosts
        )
        with hiding(exchange.secrets):
            yield Repository(reference, exchange)

    @contextmanager
    def destination(
        self, reference: Reference, *, credentials: Credentials | None = None, headers: Mapping[str, str] | None = None
    ) -> Iterator[Destination]:
        """Open the repository of this reference for pushing, at the first endpoint that accepts pushes. Mirrors of the settings do not.

        No request is sent yet. Errors raised inside contain no secrets.
        """
        endpoints = [endpoint for endpoint in self._hosts.endpoints(reference.domain) if "push" in endpoint.capabilities]
        if not endpoints:
            raise NotFound("no push hosts: not found")
        exchange = Exchange(self._transport, self._realms, reference, endpoints[:1], credentials, headers or {}, pushes=True)
        with hiding(exchange.secrets):
            yield Destination(exchange, stall_seconds=self._stall_seconds)

    def log_in(self, credentials: Credentials) -> str:
        """Try credentials at the registry that they name, docker.io if they name none; returns its identity token, usually empty.

        Raises Unauthorized if its token server refuses them, InvalidParameter for an address that is not a registry's.
        """
        return try_credentials(self._transport, self._realms, self._hosts, credentials)

    def search(
        self,
        host: str,
        term: str,
        *,
        limit: int,
        credentials: Credentials | None = None,
        headers: Mapping[str, str] | None = None,
        keep: Callable[[int], None] = lambda _: None,
    ) -> list[FoundRepository]:
        """Up to `limit` repositories that the index of this `host[:port]`, or docker.io's if it is empty, finds for a term.

        `keep` is called with the bytes of memory that the answer takes while it is read, before it takes them, and may raise to end that.
        Raises InvalidParameter if no index answers there.
        """
        index = find_index(self._hosts, host, self._hub_index)
        own = {"User-Agent": USER_AGENT, **(headers or {})}
        with hiding(lambda: [credentials.password] if credentials else []):
            return search_index(
                self._transport,
                index,
                term,
                limit=limit,
                credentials=credentials,
                headers=own,
                insecure_setting=self._insecure_setting,
                keep=keep,
            )
