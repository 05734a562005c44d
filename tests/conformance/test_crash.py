"""SIGKILL in the middle of loads, pulls, deletes and prunes: what was acknowledged is whole afterwards, and the store is sound."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.conformance.conftest import Service, skopeo
from tests.conformance.recorded.archives import BASE, Layout, tar_of
from tests.ports import free_port

ROUNDS = 4
LAYER_BYTES = 3_000_000
PRUNE_SECONDS = 0.04
"""About what a prune takes."""


def request(service: Service, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": "application/x-tar"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def archive(name: str, seed: int, owner: str = "", layer_bytes: int = LAYER_BYTES) -> bytes:
    """An image of a shared layer and one of its own that does not compress, labelled with its owner."""
    layout = Layout()
    own = tar_of({"data": random.Random(seed).randbytes(layer_bytes)})
    layout.tag(layout.image([BASE, own], {"Cmd": ["sh"], "Labels": {"owner": owner}}), f"docker.io/{name}")
    return layout.to_tar()


def prune_named(service: Service, **filters: str) -> tuple[int, bytes]:
    """Prune images whether they have names or not, as `docker image prune --all` does."""
    filters["dangling"] = "false"
    query = urlencode({"filters": json.dumps({name: [value] for name, value in filters.items()})})
    return request(service, "POST", f"/images/prune?{query}")


class Traffic:
    """Clients that load, pull, delete and prune until the service dies under them; `acknowledged` is what must survive.

    A client prunes every image that it has loaded itself, and none of the others': what those load meanwhile may be acknowledged at any
    moment, and nobody could say whether it is there afterwards.
    """

    def __init__(self, service: Service, registry: str, seed: int) -> None:
        self.service, self.registry, self.seed = service, registry, seed
        self.acknowledged: set[str] = set()
        self.counter = 0
        self._lock = threading.Lock()
        self._killer: threading.Timer | None = None

    def run_until(self, kill: Callable[[], None], seconds: float, *, while_pruning: bool) -> None:
        """Kill the service after so many seconds, or during the next prune of named images."""
        threads = [threading.Thread(target=self._client, args=(f"round{self.seed}-client{number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        killer = threading.Timer(random.uniform(0, PRUNE_SECONDS), kill)
        if while_pruning:
            self._killer = killer
        else:
            killer.start()
        for thread in (*threads, killer):
            thread.join()

    def _client(self, owner: str) -> None:
        chance = random.Random(owner)
        while True:
            try:
                chance.choice([self._load, self._load, self._load, self._pull, self._delete, self._prune, self._prune_named])(chance, owner)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                return

    def _load(self, chance: random.Random, owner: str) -> None:
        with self._lock:
            self.counter += 1
            name = f"crash/{owner}:{self.counter}"
        content = archive(name, self.counter, owner, layer_bytes=chance.choice([LAYER_BYTES, LAYER_BYTES // 50]))
        status, answer = request(self.service, "POST", "/images/load", content)
        if status == 200 and f"Loaded image: {name}" in answer.decode():
            self._keep(name)

    def _pull(self, chance: random.Random, owner: str) -> None:
        tag = chance.choice(["a", "b"])
        status, answer = request(self.service, "POST", f"/images/create?fromImage={self.registry}/crash/pulled&tag={tag}")
        if status == 200 and "Status: " in answer.decode().splitlines()[-1]:
            self._keep(f"{self.registry}/crash/pulled:{tag}")

    def _delete(self, chance: random.Random, owner: str) -> None:
        with self._lock:
            loaded = sorted(name for name in self.acknowledged if name.startswith("crash/"))
            if not loaded:
                return
            name = chance.choice(loaded)
            self.acknowledged.discard(name)
        request(self.service, "DELETE", f"/images/{name}")

    def _prune(self, chance: random.Random, owner: str) -> None:
        request(self.service, "POST", "/images/prune")

    def _prune_named(self, chance: random.Random, owner: str) -> None:
        with self._lock:
            own = {name for name in self.acknowledged if name.startswith(f"crash/{owner}:")}
            self.acknowledged -= own
            if own and self._killer:
                self._killer.start()
                self._killer = None
        prune_named(self.service, label=f"owner={owner}")

    def _keep(self, name: str) -> None:
        with self._lock:
            self.acknowledged.add(name)


@pytest.fixture
def stocked(registry: str, tmp_path: Path) -> str:
    for tag in ("a", "b"):
        (tmp_path / f"{tag}.tar").write_bytes(archive(f"crash/pulled:{tag}", ord(tag)))
        skopeo("copy", "--dest-tls-verify=false", f"oci-archive:{tmp_path}/{tag}.tar", f"docker://{registry}/crash/pulled:{tag}")
    return registry


@pytest.mark.timeout(300)
def test_acknowledged_images_survive_sigkill(stocked: str, tmp_path: Path, new_store: Callable[[], dict[str, str]]) -> None:
    service = Service(tmp_path / "stowage", free_port(), new_store())
    acknowledged: set[str] = set()
    for seed in range(ROUNDS):
        service.start()
        traffic = Traffic(service, stocked, seed)
        traffic.run_until(service.kill, seconds=1.5 + 0.37 * seed, while_pruning=seed % 2 == 1)
        acknowledged |= traffic.acknowledged

        verified = service.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
    assert acknowledged

    service.start()
    for name in sorted(acknowledged):
        status, answer = request(service, "GET", f"/images/{name}/json")
        assert status == 200, answer
        assert len(json.loads(answer)["RootFS"]["Layers"]) == 2
    status, answer = prune_named(service)
    assert status == 200, answer
    assert request(service, "GET", "/images/json") == (200, b"[]\n")
    service.stop()
    verified = service.run("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
