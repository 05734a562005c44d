"""Certificates of an authority of the tests' own, and how services and clients are given them."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path


def certify(folder: Path, name: str, authority: str | None = None) -> None:
    """Make `name`.pem and `name`.key, signed by themselves or by an authority."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={name}",
        "-addext",
        "subjectAltName=DNS:localhost",
    ]
    signed = ["-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-addext", "basicConstraints=critical,CA:FALSE"]
    kind = signed if authority else ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
    subprocess.run([*command, *kind, "-keyout", f"{name}.key", "-out", f"{name}.pem"], cwd=folder, check=True, capture_output=True)


def tls_settings(folder: Path) -> dict[str, str]:
    """The settings of a service that has `server` and verifies its clients by `authority`."""
    files = {"CERT": "server.pem", "KEY": "server.key", "CA": "authority.pem"}
    return {f"STOWAGE_TLS_{name}": str(folder / file) for name, file in files.items()}


def client_context(folder: Path, client: str | None) -> ssl.SSLContext:
    """What a client trusts, and the certificate that it shows, if any."""
    context = ssl.create_default_context(cafile=str(folder / "authority.pem"))
    if client is not None:
        context.load_cert_chain(folder / f"{client}.pem", folder / f"{client}.key")
    return context
