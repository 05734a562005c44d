"""Which token servers a registry may name.

The server may be on another host (Docker Hub and GitLab do that), but only over TLS. Plain HTTP, or unverified TLS, needs both the registry
and the server on the insecure list. A registry on the public internet may not name a server in a private network. If there is a list of
allowed servers, only those and each registry's own host are allowed; the servers in the list may be private.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from stowage.services.errors import RegistryFailure
from stowage.services.registry.addresses import is_public
from stowage.services.registry.hosts import Endpoint, HostNames, addresses
from stowage.services.registry.transport import Transport


class Realms:
    """The rules for token servers of one process; `setting` is the setting that lists the allowed ones."""

    def __init__(self, transport: Transport, allowed: HostNames, *, setting: str) -> None:
        self._transport = transport
        self._allowed = allowed
        self._setting = setting

    def allows_insecure(self, realm: str, endpoint: Endpoint) -> bool:
        """Whether the token server may be reached over unverified TLS or plain HTTP; raises RegistryFailure if the endpoint may not name
        it.
        """
        try:
            server = urlsplit(realm)
            own = server.netloc == endpoint.host
            is_host = bool(server.hostname) and "@" not in server.netloc and server.port != 0
        except ValueError as exc:
            raise RegistryFailure(f"failed to authorize: the realm is not a URL: {exc}") from exc
        if not is_host:
            raise RegistryFailure("failed to authorize: the realm is not the URL of a token server")
        insecure = endpoint.insecure and self._transport.allows_insecure(server.netloc)
        if server.scheme not in (("http", "https") if insecure else ("https",)):
            raise RegistryFailure(f"failed to authorize: the token server at {server.netloc} does not use https")
        if not own and self._allowed and server.netloc not in self._allowed:
            raise RegistryFailure(f"failed to authorize: {self._setting} does not list the token server at {server.netloc}")
        if not own and not self._allowed and _is_out_of_reach(server.netloc, endpoint):
            raise RegistryFailure(f"failed to authorize: {endpoint.host} names a token server in a private network, {server.netloc}")
        return insecure


def _is_out_of_reach(server: str, endpoint: Endpoint) -> bool:
    """Whether the registry is public (or can be resolved only by a proxy) and the server is not."""
    return all(map(is_public, addresses(endpoint.host))) and not all(map(is_public, addresses(server)))
