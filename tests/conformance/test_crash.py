"""SIGKILL in the middle of loads, pulls, deletes and prunes: what was acknowledged is whole afterwards, and the store is sound."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conformance.conftest import Service, free_port, skopeo
from tests.conformance.recorded.archives import BASE, Layout, tar_of

ROUNDS = 4
LAYER_BYTES = 3_000_000


def request(service: Service, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    try:
        connection.request(method, path, body=body, headers={"Content-Type": "application/x-tar"})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def archive(name: str, seed: int) -> bytes:
    """An image of a shared layer and one of its own, about 3 MB that do not compress."""
    layout = Layout()
    own = tar_of({"data": random.Random(seed).randbytes(LAYER_BYTES)})
    layout.tag(layout.image([BASE, own], {"Cmd": ["sh"]}), f"docker.io/{name}")
    return layout.to_tar()


class Traffic:
    """Clients that load, pull, retag, delete and prune until the service dies under them; `acknowledged` is what must survive."""

    def __init__(self, service: Service, registry: str, seed: int) -> None:
        self.service, self.registry, self.seed = service, registry, seed
        self.acknowledged: set[str] = set()
        self.counter = 0
        self._lock = threading.Lock()

    def run_until(self, kill: Callable[[], None], seconds: float) -> None:
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(seconds)
        kill()
        for thread in threads:
            thread.join()

    def _client(self, number: int) -> None:
        chance = random.Random(self.seed * 10 + number)
        while True:
            try:
                chance.choice([self._load, self._load, self._pull, self._delete, self._prune])(chance)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                return

    def _load(self, chance: random.Random) -> None:
        with self._lock:
            self.counter += 1
            name = f"crash/image{self.seed}-{self.counter}:v1"
        status, answer = request(self.service, "POST", "/images/load", archive(name, self.counter))
        if status == 200 and f"Loaded image: {name}" in answer.decode():
            self._keep(name)

    def _pull(self, chance: random.Random) -> None:
        tag = chance.choice(["a", "b"])
        status, answer = request(self.service, "POST", f"/images/create?fromImage={self.registry}/crash/pulled&tag={tag}")
        if status == 200 and "Status: " in answer.decode().splitlines()[-1]:
            self._keep(f"{self.registry}/crash/pulled:{tag}")

    def _delete(self, chance: random.Random) -> None:
        with self._lock:
            loaded = sorted(name for name in self.acknowledged if name.startswith("crash/"))
            if not loaded:
                return
            name = chance.choice(loaded)
            self.acknowledged.discard(name)
        request(self.service, "DELETE", f"/images/{name}")

    def _prune(self, chance: random.Random) -> None:
        request(self.service, "POST", "/images/prune")

    def _keep(self, name: str) -> None:
        with self._lock:
            self.acknowledged.add(name)


@pytest.fixture
def stocked(registry: str, tmp_path: Path) -> str:
    for tag in ("a", "b"):
        (tmp_path / f"{tag}.tar").write_bytes(archive(f"crash/pulled:{tag}", ord(tag)))
        skopeo("copy", "--dest-tls-verify=false", f"oci-archive:{tmp_path}/{tag}.tar", f"docker://{registry}/crash/pulled:{tag}")
    return registry


def test_acknowledged_images_survive_sigkill(stocked: str, tmp_path: Path) -> None:
    service = Service(tmp_path / "stowage", free_port())
    acknowledged: set[str] = set()
    for seed in range(ROUNDS):
        service.start()
        traffic = Traffic(service, stocked, seed)
        traffic.run_until(service.kill, seconds=1.5 + 0.37 * seed)
        acknowledged |= traffic.acknowledged

        verified = service.run("verify")
        assert verified.returncode == 0, verified.stdout + verified.stderr
    assert acknowledged

    service.start()
    for name in sorted(acknowledged):
        status, answer = request(service, "GET", f"/images/{name}/json")
        assert status == 200, answer
        assert len(json.loads(answer)["RootFS"]["Layers"]) == 2
    status, answer = request(service, "POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")
    assert status == 200, answer
    service.stop()
    verified = service.run("verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
