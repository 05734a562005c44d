"""A docker-registry on loopback with a store of its own, empty at first."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port


@contextmanager
def registry() -> Iterator[str]:
    """Run Debian's docker-registry; yields HOST:PORT."""
    port = free_port()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as temporary:
        config = Path(temporary) / "config.yml"
        config.write_text(
            f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {temporary}/store}}}}\n"
            f"http: {{addr: '127.0.0.1:{port}'}}\n"
        )
        command = ["docker-registry", "serve", str(config)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                while not _listens(port):
                    time.sleep(0.05)
                yield f"127.0.0.1:{port}"
            finally:
                process.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def skopeo(*arguments: str) -> None:
    subprocess.run(["skopeo", "--insecure-policy", *arguments], check=True, stdout=subprocess.DEVNULL)
