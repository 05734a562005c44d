"""SeaweedFS, an S3 server, as PyPI has it: a server of the tests' own, and buckets in it."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from stowage.app.stopping import end_with_parent
from stowage.services.content.bucket_keys import Credentials, query_string, sign
from tests.ports import free_port

ADMIN = Credentials("stowage-admin", "the secret of the administrator")
UNLISTED = Credentials("stowage-unlisted", "the secret of one who may not list")
READER = Credentials("stowage-reader", "the secret of one who only reads")
RENEWED = Credentials("stowage-renewed", "the secret of the key that replaces another")
WRONG = Credentials(ADMIN.key_id, "another secret")
REGION = "us-east-1"

_ALL = ["Admin", "Read", "Write", "List", "Tagging"]
_ACTIONS = {ADMIN: _ALL, RENEWED: _ALL, UNLISTED: ["Read", "Write"], READER: ["Read", "List"]}
_PROGRAM = Path(sys.executable).with_name("weed")
_START_SECONDS = 60
_TO_GRPC = 10_000
"""From a port of the server to the one for its own parts."""


@dataclass
class Seaweed:
    """A server on 127.0.0.1 with its data in `folder`."""

    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.ports['s3']}"

    def url(self, bucket: str, prefix: str = "store") -> str:
        """The content URL of a prefix in a bucket."""
        return f"s3://{bucket}/{prefix}?endpoint={self.endpoint}&region={REGION}"

    def environ(self, credentials: Credentials = ADMIN) -> dict[str, str]:
        """The environment of a process with these credentials."""
        return {"AWS_ACCESS_KEY_ID": credentials.key_id, "AWS_SECRET_ACCESS_KEY": credentials.secret}

    def create_bucket(self) -> str:
        """Create a bucket, and return its name."""
        name = f"bucket-{uuid4().hex[:12]}"
        status, answer = self.request("PUT", f"/{name}")
        assert status == http.client.OK, answer
        return name

    def request(
        self, method: str, path: str, query: Mapping[str, str] | None = None, *, payload: bytes = b"", credentials: Credentials = ADMIN
    ) -> tuple[int, bytes]:
        """The status and the body of the answer to a signed request."""
        host = f"127.0.0.1:{self.ports['s3']}"
        headers = sign(credentials, REGION, method, host=host, path=path, query=query or {}, payload=payload)
        connection = http.client.HTTPConnection(host, timeout=30)
        try:
            connection.request(method, f"{path}?{query_string(query or {})}", payload, headers)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def start(self) -> None:
        """Start the server, on the ports that it had before."""
        self.ports = self.ports or {name: free_port(_TO_GRPC) for name in ("s3", "master", "volume", "filer")}
        (self.folder / "data").mkdir(exist_ok=True)
        identities = [
            {"name": key.key_id, "credentials": [{"accessKey": key.key_id, "secretKey": key.secret}], "actions": actions}
            for key, actions in _ACTIONS.items()
        ]
        (self.folder / "s3.json").write_text(json.dumps({"identities": identities}))
        ports = [f"-{name}.port={port}" for name, port in self.ports.items()]
        grpc = [f"-{name}.port.grpc={port + _TO_GRPC}" for name, port in self.ports.items()]
        parent = os.getpid()
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(_PROGRAM), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={self.folder}/data", "-s3", *ports, *grpc),
                    *("-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={self.folder}/s3.json", "-master.telemetry=false"),
                    *("-volume.max=10000", "-master.volumeSizeLimitMB=1024", f"-filer.localSocket={self.folder}/filer.sock"),
                    f"-s3.localSocket={self.folder}/s3.sock",
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for whoever started it
                preexec_fn=lambda: end_with_parent(parent, signal.SIGKILL),  # noqa: PLW1509 - it only calls the system
            )
        self._wait()

    def stop(self) -> None:
        """End the server at once, as after a crash; what it has acknowledged is on its disk."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(_START_SECONDS)
            self.process = None

    def pause(self) -> None:
        """Let the server answer nothing, while its connections stay."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def _wait(self) -> None:
        """Wait until an object can be written, which needs all parts of the server."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                status, _ = self.request("PUT", "/first-bucket/object", payload=b"ready")
            except OSError:
                status = 0
            if status == http.client.OK:
                return
            if time.monotonic() > deadline or self.process is None or self.process.poll() is not None:
                raise TimeoutError((self.folder / "log").read_text()[-2000:])
            time.sleep(0.1)


@contextmanager
def running_seaweed() -> Iterator[Seaweed]:
    """A new server that runs while inside."""
    folder = Path(tempfile.mkdtemp(prefix="stowage-seaweedfs-", dir="/tmp"))  # paths of sockets are short
    try:
        server = Seaweed(folder)
        server.start()
        try:
            yield server
        finally:
            server.stop()
        for name, port in server.ports.items():
            Path(f"/tmp/seaweedfs-{name}-grpc-{port + _TO_GRPC}.sock").unlink(missing_ok=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
