"""Network namespaces of the tests' own, whose addresses nobody else reaches, and the loss of the network between them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from stowage.app.stopping import end_with_parent
from tests.waiting import poll

SERVERS, NODE = "10.231.0.1", "10.231.0.2"

_CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """A namespace, which a process keeps."""

    pid: int

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread starts or connects to inside belongs to the namespace."""
        own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            _enter(Path(f"/proc/{self.pid}/ns/net"))
            yield
        finally:
            _enter(Path(f"/proc/self/fd/{own}"))
            os.close(own)

    def run(self, *command: str) -> None:
        subprocess.run(["nsenter", f"--net=/proc/{self.pid}/ns/net", *command], check=True, capture_output=True, timeout=30)

    def lose(self) -> None:
        """From now on packets to and from others vanish, which nobody is told."""
        for chain, option in (("INPUT", "-i"), ("OUTPUT", "-o")):
            self.run("iptables", "-w", "-A", chain, option, "outside", "-j", "DROP")

    def recover(self) -> None:
        self.run("iptables", "-w", "-F")


@contextmanager
def two_namespaces() -> Iterator[tuple[Namespace, Namespace]]:
    """One for servers with the address SERVERS, and one for a node with the address NODE, and a cable between them. Needs root."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    with ExitStack() as kept:
        servers, node = (kept.enter_context(_kept()) for _ in range(2))
        servers.run("ip", "link", "add", "outside", "type", "veth", "peer", "name", "outside", "netns", str(node.pid))
        for namespace, address in ((servers, SERVERS), (node, NODE)):
            namespace.run("ip", "address", "add", f"{address}/24", "dev", "outside")
            for device in ("lo", "outside"):
                namespace.run("ip", "link", "set", device, "up")
        yield servers, node


@contextmanager
def _kept() -> Iterator[Namespace]:
    parent, own = os.getpid(), os.readlink("/proc/self/ns/net")
    with subprocess.Popen(
        ["unshare", "--net", "sleep", "3600"],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: end_with_parent(parent, signal.SIGKILL),  # noqa: PLW1509 - it only calls the system
    ) as process:
        try:
            poll(lambda: process.poll() is not None or os.readlink(f"/proc/{process.pid}/ns/net") != own)
            if process.poll() is not None:
                pytest.skip("network namespaces cannot be made here")
            yield Namespace(process.pid)
        finally:
            process.kill()


def _enter(path: Path) -> None:
    namespace = os.open(path, os.O_RDONLY)
    try:
        if _LIBC.setns(namespace, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(namespace)
