"""What TLS to a registry trusts besides the system's authorities, and the client certificates that it presents.

Docker's layout of a registry's folder: every `*.crt` is an authority, and every `NAME.cert` with its `NAME.key` is a client certificate.

Source: moby daemon/pkg/registry/registry.go (loadTLSConfig); containerd core/remotes/docker/config/hosts.go (loadCertFiles).
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from urllib3.util.ssl_ import create_urllib3_context

from stowage.services.errors import RegistryFailure


@dataclass(frozen=True, slots=True)
class PemFile:
    """A file of certificates or a key. `modified` (nanoseconds) makes a changed file compare unequal."""

    path: Path
    modified: int

    @classmethod
    def at(cls, path: Path) -> PemFile:
        """The file as it is now; raises RegistryFailure if it does not exist."""
        try:
            return cls(path, path.stat().st_mtime_ns)
        except OSError as exc:
            raise RegistryFailure(f"failed to read {path}: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class Trust:
    """How TLS to one host is done: whether it is verified, extra authorities, and client certificates with their keys."""

    verified: bool = True
    authorities: tuple[PemFile, ...] = ()
    clients: tuple[tuple[PemFile, PemFile], ...] = ()

    def elsewhere(self, own: Trust) -> Trust:
        """The trust in a host that this one redirects to, which has its `own`: only the authorities are carried over."""
        return Trust(own.verified, (*self.authorities, *own.authorities), own.clients)

    def context(self) -> ssl.SSLContext:
        """A client-side TLS context; raises RegistryFailure for a file that is not PEM."""
        context = ssl.create_default_context() if self.verified else create_urllib3_context(cert_reqs=ssl.CERT_NONE)
        context.verify_flags &= (
            ~ssl.VERIFY_X509_STRICT
        )  # on by default since Python 3.13; Go requires no more of private authorities than RFC 5280
        for authority in self.authorities if self.verified else ():
            with _naming(authority):
                context.load_verify_locations(authority.path)
        for certificate, key in self.clients:
            with _naming(certificate):
                context.load_cert_chain(certificate.path, key.path)
        return context


SYSTEM_TRUST = Trust()
"""The system's authorities alone."""


@contextmanager
def _naming(file: PemFile) -> Iterator[None]:
    """Say which file could not be loaded."""
    try:
        yield
    except OSError as exc:  # an SSLError is one
        raise RegistryFailure(f"failed to load {file.path}: {exc.strerror or exc}") from exc


def read_cert_folder(folder: Path) -> Trust:
    """The trust described by a folder in Docker's layout; raises RegistryFailure for half a pair."""
    try:
        names = {path.name for path in folder.iterdir()}
    except OSError as exc:
        raise RegistryFailure(f"failed to read {folder}: {exc.strerror}") from exc
    certificates = sorted(name.removesuffix(".cert") for name in names if name.endswith(".cert"))
    keys = {name.removesuffix(".key") for name in names if name.endswith(".key")}
    for name in certificates:
        if name not in keys:
            raise RegistryFailure(f"missing key {name}.key for client certificate {name}.cert. CA certificates must use the extension .crt")
    for name in sorted(keys.difference(certificates)):
        raise RegistryFailure(f"missing client certificate {name}.cert for key {name}.key")
    return Trust(
        authorities=tuple(PemFile.at(folder / name) for name in sorted(names) if name.endswith(".crt")),
        clients=tuple((PemFile.at(folder / f"{name}.cert"), PemFile.at(folder / f"{name}.key")) for name in certificates),
    )
