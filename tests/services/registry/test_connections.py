"""Answers have their time: one that drips ends like one that does not come."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import urllib3
from urllib3.connection import HTTPConnection

from stowage.services.errors import EngineError, InvalidParameter, RegistryFailure
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.registry import urls
from stowage.services.registry.certs import SYSTEM_TRUST
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.connections import ANSWER_SILENCES, Pool
from stowage.services.registry.operations import Operation
from stowage.services.registry.pools import Pools
from stowage.services.registry.protocol import Credentials, Repository
from stowage.services.registry.proxies import DIRECT
from tests.engines import downloads, registry_client
from tests.fake_registry import FakeRegistry
from tests.fake_registry.slow import DRIP_SECONDS, Slowness
from tests.services.registry.clients import INSECURE, published

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")

STALL_SECONDS = 0.2


@pytest.fixture(params=[pytest.param(False, id="plain"), pytest.param(True, id="TLS")])
def registry(request: pytest.FixtureRequest) -> Iterator[FakeRegistry]:
    with FakeRegistry(tls=request.param).serve() as running:
        yield running


def client() -> RegistryClient:
    return registry_client(insecure=INSECURE, stall_seconds=STALL_SECONDS)


def failure(call: Callable[[], object]) -> EngineError:
    """What a call raises, which ends by itself."""
    raised: list[EngineError] = []

    def run() -> None:
        with pytest.raises(EngineError) as caught:
            call()
        raised.append(caught.value)

    running = threading.Thread(target=run, daemon=True)
    running.start()
    running.join(20)
    assert raised, "it goes on"
    return raised[0]


def asking(registry: FakeRegistry, ask: Callable[[Repository, Reference], object]) -> Callable[[], object]:
    reference = published(registry)

    def call() -> object:
        with client().repository(reference) as repository:
            return ask(repository, reference)

    return call


@pytest.mark.parametrize(
    ("slowness", "words"),
    [
        (Slowness.DRIP_HEADERS, "net/http: timeout awaiting response headers"),
        (Slowness.ENDLESS_CONTINUE, "net/http: too many 1xx informational responses"),
    ],
)
def test_a_head_without_an_end(registry: FakeRegistry, slowness: Slowness, words: str) -> None:
    registry.slow["1"] = slowness
    error = failure(asking(registry, lambda repository, reference: repository.resolve(reference)))
    assert str(error).endswith(f": {words}")
    assert error.retry_after == 0


@pytest.mark.parametrize(
    ("slow", "ask"),
    [
        pytest.param("list", lambda repository, _: repository.tags(), id="tags"),
        pytest.param("token", lambda repository, _: repository.tags(), id="token"),
        pytest.param("1", lambda repository, reference: repository.read(reference), id="manifest"),
    ],
)
def test_a_document_that_drips(registry: FakeRegistry, slow: str, ask: Callable[[Repository, Reference], object]) -> None:
    call = asking(registry, ask)
    registry.auth, registry.token = "bearer", "t" * 2000
    registry.manifests["team/app", "1"] = document = registry.manifests["team/app", "1"].padded(2000)
    registry.manifests |= {("team/app", f"tag-{number}"): document for number in range(300)}
    registry.slow[slow] = Slowness.DRIP
    assert "unexpected EOF" in str(failure(call))


@pytest.mark.parametrize("slow", ["", "token"])
def test_a_login(registry: FakeRegistry, slow: str) -> None:
    registry.auth = "bearer"
    registry.slow[slow] = Slowness.DRIP_HEADERS
    error = failure(lambda: client().log_in(Credentials("user", "p4ss", server_address=registry.host)))
    assert isinstance(error, RegistryFailure)
    assert str(error).startswith(f'Get "{registry.base}/v2/": ')
    assert str(error).endswith("net/http: timeout awaiting response headers")


def test_a_search(registry: FakeRegistry) -> None:
    registry.slow["_ping"] = Slowness.DRIP_HEADERS
    error = failure(lambda: client().search(registry.host, "app", limit=1))
    assert isinstance(error, InvalidParameter)
    assert str(error).startswith(f'invalid registry endpoint "http://{registry.host}/v1/". HTTPS attempt: ')
    assert f'Get "{registry.base}/v1/_ping": net/http: timeout awaiting response headers' in str(error)


def test_an_upload_and_a_manifest(registry: FakeRegistry) -> None:
    with client().destination(published(registry)) as destination:
        manifest = Descriptor("application/vnd.oci.image.index.v1+json", Digest.of(b"{}"), 2)
        assert not destination.has_manifest(manifest)
        registry.slow[str(manifest.digest)] = Slowness.DRIP_HEADERS
        assert "timeout awaiting response headers" in str(failure(lambda: destination.has_manifest(manifest)))


def test_a_url_to_import_from(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    if registry.tls:
        pytest.skip("its certificate is nobody's")
    monkeypatch.setattr(urls, "_TIMEOUT", urllib3.Timeout(connect=10, read=STALL_SECONDS))
    registry.slow["rootfs.tar"] = Slowness.DRIP_HEADERS

    def call() -> None:
        with downloads(*INSECURE).open(f"{registry.base}/rootfs.tar"):
            pass

    assert "timeout awaiting response headers" in str(failure(call))


def test_a_blob_may_drip_for_longer_than_an_answer_may_take(registry: FakeRegistry) -> None:
    """Its least rate is for whoever reads it to hold."""
    content = bytes(int(1.2 * ANSWER_SILENCES * STALL_SECONDS / DRIP_SECONDS))
    blob = Descriptor("application/octet-stream", Digest.of(content), len(content))
    registry.blobs[str(blob.digest)] = content
    registry.slow[str(blob.digest)] = Slowness.DRIP
    with registry_client(insecure=INSECURE, stall_seconds=STALL_SECONDS).repository(published(registry)) as repository:
        stream = repository.blob(blob)
        assert b"".join(stream) == content
        stream.close()


@pytest.mark.parametrize("slowness", [Slowness.DRIP_EXTENSION, Slowness.DRIP_TRAILERS])
def test_what_frames_a_blob_has_its_time(registry: FakeRegistry, slowness: Slowness) -> None:
    blob = Descriptor("application/octet-stream", Digest.of(b"blob"), 4)
    registry.slow[str(blob.digest)] = slowness
    assert "failed to copy" in str(failure(asking(registry, lambda repository, _: b"".join(repository.blob(blob)))))


def test_a_connection_is_kept_alive(registry: FakeRegistry) -> None:
    """By TCP, so that a registry whose machine is gone is noticed."""
    pool = Pools(DIRECT).get(registry.base, SYSTEM_TRUST, insecure=True).connection_from_url(registry.base)
    connection = pool._get_conn()
    assert isinstance(connection, HTTPConnection)
    connection.connect()
    assert connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    connection.close()


def test_a_registry_that_answers_and_then_does_not(registry: FakeRegistry) -> None:
    with client().repository(published(registry)) as repository:
        assert repository.tags() == ["1"]
        registry.slow["list"] = Slowness.STALL
        with pytest.raises(RegistryFailure, match="timeout awaiting response headers"):
            repository.tags()


def test_no_further_address_is_tried_once_the_client_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    operation, tried = Operation(), list[object]()

    def refuse(address: tuple[str, int], *_: object, **__: object) -> socket.socket:
        tried.append(address)
        operation.cancel()
        raise ConnectionRefusedError

    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (f"127.0.0.{number}", 9)) for number in range(1, 100)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr("urllib3.util.connection.create_connection", refuse)
    with pytest.raises(RegistryFailure, match="context canceled"):
        operation.run(lambda: Pool("many.example", 9).urlopen("GET", "/", retries=False))
    assert tried == [("127.0.0.1", 9)]
