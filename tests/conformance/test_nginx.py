"""The docker CLI, raw requests and streams through nginx with the shipped site, in front of a real service."""

from __future__ import annotations

import http.client
import io
import json
import re
import shutil
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.builders import Layout, digest_of, make_layer
from tests.conformance.certificates import certify
from tests.conformance.conftest import START_SECONDS, needs
from tests.conformance.front import Front, running_front
from tests.conformance.test_edges import CLOSE, head, message_of, parse
from tests.fake_registry import FakeRegistry, Fault


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    with running_front(tmp_path_factory) as front:
        yield front


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with FakeRegistry().serve() as fake:
        yield fake


def until(ready: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)


def archive(name: str, size: int = 64) -> bytes:
    """An OCI archive with an uncompressed layer of this size."""
    layout = Layout()
    layout.tag(layout.image([make_layer(name, size)], compression="none"), f"docker.io/library/{name}:1")
    return layout.to_tar()


def publish(registry: FakeRegistry, repository: str, fault: Fault | None = None) -> str:
    """An image in the registry whose only layer has this fault; returns its name."""
    layout = Layout()
    layer = make_layer(repository, 1 << 20)
    name = registry.publish(layout, layout.image([layer], compression="none"), repository)
    if fault:
        registry.faults[digest_of(layer)] = fault
    return name


def begin_pull(connection: socket.socket, name: str, version: str) -> io.BufferedReader:
    """Ask for a pull; returns the answer as a stream, after its first `Pulling fs layer`."""
    connection.sendall(head("POST", f"/v{version}/images/create?fromImage={name}&tag=1", "Content-Length: 0"))
    answer = connection.makefile("rb")
    for line in answer:
        if b"Pulling fs layer" in line:
            return answer
    pytest.fail("the pull ended before its first layer")


@pytest.fixture
def docker_cli() -> None:
    needs("docker")


@pytest.mark.usefixtures("docker_cli")
def test_the_docker_cli_loads_and_saves_and_nginx_keeps_nothing(front: Front, tmp_path: Path) -> None:
    content = archive("saved", 8 << 20)
    (tmp_path / "in.tar").write_bytes(content)
    assert front.docker("load", "-i", str(tmp_path / "in.tar")).stdout == b"Loaded image: saved:1\n"
    assert front.docker("save", "-o", str(tmp_path / "through.tar"), "saved:1").returncode == 0
    front.service.docker("save", "-o", str(tmp_path / "direct.tar"), "saved:1")
    assert (tmp_path / "through.tar").read_bytes() == (tmp_path / "direct.tar").read_bytes()
    assert front.spooled() == []


@pytest.mark.usefixtures("docker_cli")
def test_the_docker_cli_pulls_and_lists(front: Front, registry: FakeRegistry) -> None:
    name = publish(registry, "team/deep/pulled")
    pulled = front.docker("pull", f"{name}:1")
    assert f"Status: Downloaded newer image for {name}:1" in pulled.stdout.decode()
    listed = front.docker("images", "--format", "{{.Repository}}:{{.Tag}}", name)
    assert listed.stdout.decode() == f"{name}:1\n"
    assert front.docker("inspect", "--format", "{{index .RepoTags 0}}", f"{name}:1").stdout.decode() == f"{name}:1\n"
    assert b"No such image: nosuch:latest" in front.docker("rmi", "nosuch").stderr


def test_an_upload_reaches_the_service_before_it_ends(front: Front) -> None:
    content = archive("uploaded", 8 << 20)
    half = len(content) // 2
    with front.connect() as connection:
        connection.sendall(head("POST", "/images/load", CLOSE, "Transfer-Encoding: chunked") + chunk(content[:half]))
        until(lambda: any(path.stat().st_size > half // 2 for path in front.service.root.glob("ingest/*/data")), "nothing arrived")
        assert front.spooled() == []
        connection.sendall(chunk(content[half:]) + b"0\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
    assert b"Loaded image: uploaded:1" in answer


def test_progress_arrives_while_the_layer_is_still_on_its_way(front: Front, registry: FakeRegistry) -> None:
    name = publish(registry, "team/waiting", Fault.WAITING)
    with front.connect() as connection:
        answer = begin_pull(connection, name, "1.45")
        assert registry.stalled.wait(START_SECONDS)
        registry.resume.set()
        assert any(b"Status: Downloaded newer image" in line for line in answer)


def test_a_client_that_goes_away_in_the_middle_of_a_pull_is_noticed(front: Front, registry: FakeRegistry) -> None:
    name = publish(registry, "team/cancelled", Fault.WAITING)
    with front.connect() as connection:
        begin_pull(connection, name, "1.44").close()
        assert registry.stalled.wait(START_SECONDS)
    until(lambda: "path=/v1.44/images/create" in front.service.log.read_text(), "the pull went on")
    assert not registry.resume.is_set()


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("/images/team/deep/named:1/json", id="slashes"),
        pytest.param("/images/team%2Fdeep%2Fnamed:1/json", id="escaped slashes"),
        pytest.param("/images/team%2fdeep/named%3A1/history", id="escaped colon"),
        pytest.param("/images%2fjson", id="escaped slash in a route"),
        pytest.param("//images/json?all=1", id="slashes in front"),
        pytest.param("/images//json", id="slashes inside"),
        pytest.param("/images/team//deep/named:1/json?x=%20y", id="slashes in a name"),
        pytest.param("/images/./json", id="dot"),
        pytest.param("/images/%2e%2e/_ping", id="escaped dots"),
        pytest.param("/images/a%20b%3Fc/json", id="escaped blank and question mark"),
        pytest.param("/images/%C3%A9/json", id="UTF-8"),
        pytest.param("/images/json?filters=%7B%22reference%22%3A%5B%22team%2F*%2F*%22%5D%7D", id="filters"),
        pytest.param("/images/json?x=" + "a" * 1_000_000, id="long query"),
        pytest.param("/v1.24/images/json", id="old version"),
        pytest.param("/v9.9/images/json", id="future version"),
        pytest.param("/nope", id="unknown route"),
    ],
)
def test_an_answer_is_the_same_through_nginx(front: Front, named: None, target: str) -> None:
    request = head("GET", target, CLOSE, "X-Registry-Auth: " + "a" * 60_000)
    with socket.create_connection(("127.0.0.1", front.service.port), timeout=20) as connection:
        connection.sendall(request)
        direct = parse(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    through = parse(front.exchange(request))
    assert (through[0], through[2]) == (direct[0], direct[2])
    assert significant(through[1]) == significant(direct[1])


@pytest.fixture(scope="module")
def named(front: Front) -> None:
    """The image team/deep/named:1 is there."""
    layout = Layout()
    layout.tag(layout.image([make_layer("named")]), "docker.io/team/deep/named:1")
    content = layout.to_tar()
    answer = front.exchange(head("POST", "/images/load", CLOSE, f"Content-Length: {len(content)}") + content)
    assert b"Loaded image: team/deep/named:1" in answer


def significant(headers: dict[str, str]) -> dict[str, str]:
    """The headers that the service sets, without those of each connection."""
    return {name: value for name, value in headers.items() if name not in ("date", "connection", "x-request-id")}


def test_head_ping_has_dockers_headers_and_no_body(front: Front) -> None:
    status, headers, body = parse(front.exchange(head("HEAD", "/_ping", CLOSE)))
    assert (status, body) == (200, b"")
    assert {name: headers[name] for name in ("api-version", "ostype", "content-type")} == {
        "api-version": "1.56",
        "ostype": "linux",
        "content-type": "text/plain; charset=utf-8",
    }
    assert headers["server"].startswith("Docker/")


@pytest.mark.parametrize("size", [4 << 20, 64 << 20], ids=["drained", "more than is drained"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_early_error_reaches_a_client_that_is_still_uploading(front: Front, size: int, chunked: bool) -> None:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    piece = b"x" * (1 << 20)
    with front.connect() as connection:
        connection.sendall(head("POST", "/nope", CLOSE, framing))
        try:
            for _ in range(size // len(piece)):
                connection.sendall(chunk(piece) if chunked else piece)
            connection.sendall(b"0\r\n\r\n" if chunked else b"")
        except (BrokenPipeError, ConnectionResetError):
            pass
        status, _, body = parse(b"".join(iter(lambda: connection.recv(1 << 16), b"")))
    assert (status, message_of(body)) == (404, "page not found")


SMUGGLED = head("GET", "/smuggled", CLOSE)


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param(["Content-Length: 6", "Transfer-Encoding: chunked"], b"0\r\n\r\n", id="CL.TE"),
        pytest.param(["Transfer-Encoding: chunked", "Content-Length: 4"], chunk(b"x") + b"0\r\n\r\n", id="TE.CL"),
        pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: identity"], b"0\r\n\r\n", id="TE.TE"),
        pytest.param(["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"], b"0\r\n\r\n", id="TE twice"),
        pytest.param(["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n", id="TE list"),
        pytest.param(["Transfer-Encoding: xchunked", "Content-Length: 5"], b"0\r\n\r\n", id="unknown TE"),
        pytest.param(["Transfer-Encoding:\x0bchunked"], b"0\r\n\r\n", id="TE behind a control character"),
        pytest.param(["Transfer-Encoding : chunked"], b"0\r\n\r\n", id="blank before the colon"),
        pytest.param(["X: y", " Transfer-Encoding: chunked"], b"0\r\n\r\n", id="folded TE"),
        pytest.param(["Content-Length: 0", f"Content-Length: {len(SMUGGLED)}"], b"", id="CL twice"),
        pytest.param(["Content-Length: +0"], b"", id="signed CL"),
        pytest.param([f"Content-Length: 0, {len(SMUGGLED)}"], b"", id="CL list"),
        pytest.param(["Transfer-Encoding: chunked"], b"1;ext=\n\r\nx\r\n0\r\n\r\n", id="LF in a chunk extension"),
        pytest.param(["Transfer-Encoding: chunked"], b"0x1\r\nx\r\n0\r\n\r\n", id="chunk size with 0x"),
        pytest.param(["Transfer-Encoding: chunked"], b"-1\r\nx\r\n0\r\n\r\n", id="negative chunk size"),
        pytest.param(["Transfer-Encoding: chunked"], chunk(b"x" * (1 << 20)) + b"zz\r\n0\r\n\r\n", id="broken chunk after a good one"),
    ],
)
def test_a_request_that_may_be_read_two_ways_is_refused_and_hides_none(front: Front, headers: list[str], body: bytes) -> None:
    statuses, logged = follow(front, head("POST", "/images/load", *headers) + body + SMUGGLED)
    assert statuses in (["400"], ["501"])
    assert logged.count("path=/images/load") <= 1
    assert "smuggled" not in logged


def test_a_request_that_can_be_read_one_way_only_is_followed_by_the_next(front: Front) -> None:
    statuses, logged = follow(front, head("POST", "/nope", "Transfer-Encoding: chunked") + chunk(b"x") + b"0\r\n\r\n" + SMUGGLED)
    assert statuses == ["404", "404"]
    assert (logged.count("path=/nope"), logged.count("path=/smuggled")) == (1, 1)


def follow(front: Front, request: bytes) -> tuple[list[str], str]:
    """The statuses of all answers, and what the service logged for it, after nginx used its connections to the service again."""
    before = len(front.service.log.read_text())
    answer = front.exchange(request)
    for _ in range(3):
        assert parse(front.exchange(head("GET", "/_ping", CLOSE)))[2] == b"OK"
    return re.findall(r"^HTTP/1\.1 (\d+)", answer.decode(), re.MULTILINE), front.service.log.read_text()[before:]


@pytest.mark.usefixtures("docker_cli")
def test_the_docker_cli_with_a_certificate_is_served_over_tls(front: Front) -> None:
    for name, source in (("ca.pem", "ca.pem"), ("cert.pem", "client.pem"), ("key.pem", "client.key")):
        (front.folder / "docker-certificates").mkdir(exist_ok=True)
        shutil.copy(front.folder / source, front.folder / "docker-certificates" / name)
    over_tls = {
        "DOCKER_HOST": f"tcp://localhost:{front.tls_port}",
        "DOCKER_TLS_VERIFY": "1",
        "DOCKER_CERT_PATH": str(front.folder / "docker-certificates"),
    }
    loaded = front.docker("load", stdin=archive("secured"), **over_tls)
    assert (loaded.returncode, loaded.stdout) == (0, b"Loaded image: secured:1\n")
    assert '"CN=client" POST' in (front.folder / "stowage.log").read_text()


@pytest.mark.parametrize("client", [None, "stranger"])
def test_any_other_client_is_told_that_it_needs_a_certificate(front: Front, client: str | None) -> None:
    context = ssl.create_default_context(cafile=str(front.folder / "ca.pem"))
    if client:
        certify(front.folder, client)
        context.load_cert_chain(front.folder / f"{client}.pem", front.folder / f"{client}.key")
    connection = http.client.HTTPSConnection("localhost", front.tls_port, context=context, timeout=20)
    connection.request("GET", "/_ping")
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())) == (400, {"message": "this address needs TLS and a client certificate"})
    connection.close()


@pytest.mark.usefixtures("docker_cli")
def test_a_service_that_is_down_is_reported_and_found_again(front: Front) -> None:
    front.service.stop()
    down = front.docker("images")
    front.service.start()
    assert (down.returncode, down.stderr) == (1, b"Error response from daemon: Stowage does not answer\n")
    assert front.docker("images").returncode == 0
