"""Answers have their time, and only a few informational answers and trailers: one that drips ends like one that does not come."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import pytest
import urllib3
from urllib3.connection import HTTPConnection
from urllib3.exceptions import HTTPError

from stowage.services.errors import EngineError, InvalidParameter, RegistryFailure
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.registry import urls
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.connections import BODY_SILENCES, Pool, _Deadline
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.hosts import SYSTEM_TRUST, Hosts
from stowage.services.registry.operations import Operation
from stowage.services.registry.repository import Repository
from stowage.services.registry.transport import Transport
from stowage.services.registry.words import reason
from tests.engines import downloads, registry_client
from tests.fake_registry import FakeRegistry
from tests.fake_registry.slow import DRIP_SECONDS, Slowness
from tests.services.registry.clients import INSECURE, published
from tests.waiting import poll

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
def test_a_head_takes_no_longer_than_a_silence(
    registry: FakeRegistry, slowness: Slowness, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.slow["1"] = slowness
    monkeypatch.setattr("stowage.services.registry.connections.BODY_SILENCES", 1000)
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
    content = bytes(int(1.2 * BODY_SILENCES * STALL_SECONDS / DRIP_SECONDS))
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
    pool = Transport(Hosts(), stall_seconds=1).pools(registry.base, SYSTEM_TRUST, insecure=True).connection_from_url(registry.base)
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


SILENCE = 0.1


class EmptyRecords(io.RawIOBase):
    """Reads as OpenSSL does while records without data arrive: it returns only at the end of the connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def readinto(self, _: object, /) -> int:
        while self._connection.recv(1 << 16):
            pass
        return 0


@pytest.fixture
def flooded() -> Iterator[socket.socket]:
    """A connection on which bytes arrive until it is shut down."""
    here, there = socket.socketpair()

    def flood() -> None:
        with there:
            while True:
                try:
                    there.sendall(bytes(1 << 16))
                except OSError:
                    return

    flooding = threading.Thread(target=flood)
    with here:
        flooding.start()
        yield here
    flooding.join(30)


def test_a_read_that_no_silence_ends_is_ended(flooded: socket.socket) -> None:
    flooded.settimeout(SILENCE)
    with closing(_Deadline(EmptyRecords(flooded), flooded, SILENCE)) as answer:
        for _ in range(2):
            with pytest.raises(TimeoutError, match="^timed out$"):
                answer.readinto(bytearray(10))
    poll(lambda: "overdue" not in {thread.name for thread in threading.enumerate()})


def test_a_head_ends_soon_after_its_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.registry.connections._HEAD_SECONDS", SILENCE)
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(300)  # as long as a registry may be silent after an upload
        answer = _Deadline(here.makefile("rb", buffering=0), here, 300)
        there.sendall(b"H")
        assert answer.readinto(bytearray(1)) == 1
        with pytest.raises(TimeoutError, match="^timed out$"):
            answer.readinto(bytearray(1))


def test_a_read_within_its_time_is_left_alone() -> None:
    here, there = socket.socketpair()
    with here, there:
        here.settimeout(SILENCE)
        answer = _Deadline(here.makefile("rb", buffering=0), here, SILENCE)
        threading.Timer(SILENCE / 2, there.sendall, [b"late"]).start()
        buffer = bytearray(10)
        assert answer.readinto(buffer) == 4
        assert buffer.startswith(b"late")
        there.close()
        assert answer.readinto(buffer) == 0


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
TRAILER = b"X-Checksum: 1\r\n"
MANY = 1 << 20


@contextmanager
def server(first: bytes, then: bytes = b"") -> Iterator[tuple[str, list[int]]]:
    """Answers one request with `first`, and then with the other bytes until the client leaves; counts the bytes sent."""
    sent: list[int] = []

    def answer() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(first)
            try:
                while then and sum(sent) < 64 * MANY:
                    sent.append(connection.send(then))
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listening:
        answering = threading.Thread(target=answer, daemon=True)
        answering.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/", sent
        answering.join(30)
        assert not answering.is_alive()


def ask(url: str) -> bytes:
    """The body of an answer; its connection is closed in the end."""
    parts = urllib3.util.parse_url(url)
    with Pool(parts.host or "", parts.port) as pool:
        response = pool.urlopen("GET", "/", retries=False, preload_content=False, decode_content=False, timeout=30)
        try:
            return b"".join(iter(lambda: response.read1(100), b""))
        finally:
            response.close()


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(CONTINUE * 5 + ANSWER, id="five continues"),
        pytest.param(EARLY_HINTS + CONTINUE + EARLY_HINTS + ANSWER, id="early hints"),
        pytest.param(CHUNKED + TRAILER * 50 + b"\r\n", id="trailers"),
        pytest.param(CHUNKED, id="no end of trailers"),
    ],
)
def test_a_few_are_skipped(answer: bytes) -> None:
    with server(answer) as (url, _):
        assert ask(url) == b"ok"


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        pytest.param(CONTINUE, CONTINUE, "net/http: too many 1xx informational responses", id="continues"),
        pytest.param(EARLY_HINTS, EARLY_HINTS, "net/http: too many 1xx informational responses", id="early hints"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", TRAILER, "got more than 100 headers", id="headers"),
        pytest.param(CHUNKED, TRAILER, "got more than 100 headers", id="trailers"),
    ],
)
def test_too_many_end_the_answer_at_once(first: bytes, then: bytes, words: str) -> None:
    with server(first, then * 1000) as (url, sent):
        with pytest.raises(HTTPError) as raised:
            ask(url)
        assert reason(raised.value, url) == words
    assert sum(sent) < 64 * MANY
