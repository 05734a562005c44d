"""The shipped nginx site before two nodes: who gets a request, what is sent again, and how a node is drained."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conformance.certificates import certify
from tests.conformance.conftest import Service, needs
from tests.conformance.front import make_certificates, running_nginx, site
from tests.conformance.test_nginx import until
from tests.namespaces import NODE, two_namespaces
from tests.ports import free_port

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REQUESTS = [("GET", "/images/json"), ("POST", "/images/load"), ("DELETE", "/images/app:1"), ("POST", "/images/app:1/tag")]


def answer(connection: socket.socket) -> None:
    connection.sendall(ANSWER)


def cut(connection: socket.socket) -> None:
    """Close the connection, as a node that is killed."""


@dataclass
class Node:
    """A server that reads a request and does something; `requests` are the first lines that it read."""

    act: Callable[[socket.socket], None]
    requests: list[str] = field(default_factory=list)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))
    connections: set[socket.socket] = field(default_factory=set)

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.listener.getsockname())

    def serve(self) -> None:
        listener = self.listener
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self.connections.add(connection)
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    @contextlib.contextmanager
    def killed(self) -> Iterator[None]:
        """Meanwhile nobody listens at its address, and whoever is connected is cut."""
        address = self.listener.getsockname()
        for each in (self.listener, *self.connections):
            with contextlib.suppress(OSError):  # already closed
                each.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.connections.clear()
        yield
        self.listener = socket.create_server(address)
        threading.Thread(target=self.serve, daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as received, contextlib.suppress(OSError):
            while line := received.readline():
                length = 0
                while (header := received.readline().strip()) != b"":
                    if match := re.match(rb"(?i)content-length: (\d+)", header):
                        length = int(match[1])
                received.read(length)
                self.requests.append(line.decode().strip())
                self.act(connection)
                if self.act is cut:
                    return


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    needs("openssl")
    make_certificates(tmp_path)
    return tmp_path


@contextlib.contextmanager
def before(folder: Path, *nodes: str) -> Iterator[int]:
    """The port of nginx before these nodes."""
    port, tls_port = free_port(), free_port()
    with running_nginx(folder, site(folder, port, tls_port, list(nodes)), port, tls_port):
        yield port


@contextlib.contextmanager
def running_node(act: Callable[[socket.socket], None]) -> Iterator[Node]:
    node = Node(act)
    with node.listener:
        threading.Thread(target=node.serve, daemon=True).start()
        yield node


def ask(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body=b"body" if method == "POST" else None)
        return connection.getresponse().status


def test_every_request_finds_a_node_while_the_other_is_down_but_one_deletion(folder: Path) -> None:
    with running_node(answer) as node, before(folder, f"127.0.0.1:{free_port()}", node.address) as port:
        statuses = [(request[0], ask(port, *request)) for request in REQUESTS * 3]
        assert {status for method, status in statuses if method != "DELETE"} == {200}
        assert [status for method, status in statuses if method == "DELETE"] in ([200, 200, 200], [502, 200, 200])


def test_nodes_that_are_killed_one_after_the_other_cost_hardly_a_request(folder: Path) -> None:
    statuses: dict[str, list[int]] = {"GET": [], "POST": []}
    with running_node(answer) as first, running_node(answer) as second, before(folder, first.address, second.address) as port:
        over = threading.Event()

        def go_on_asking(method: str, path: str) -> None:
            while not over.is_set():
                statuses[method].append(ask(port, method, path))

        clients = [threading.Thread(target=go_on_asking, args=request) for request in REQUESTS[:2]]
        for client in clients:
            client.start()
        for node in (first, second, first):
            with node.killed():
                time.sleep(0.5)
            time.sleep(0.5)
        over.set()
        for client in clients:
            client.join()
    assert set(statuses["GET"]) == {200}
    assert statuses["POST"].count(502) <= 3  # one for each node that was killed while it had the request
    assert len(statuses["GET"]) > 20 and len(statuses["POST"]) > 20


def test_a_deletion_reaches_a_node_with_its_path_as_it_was_sent(folder: Path) -> None:
    with running_node(answer) as node, before(folder, node.address) as port:
        for path in ("/v1.45/images/team%2Fapp:1?force=1&noprune=%20", "//images//team/app%3A1", "/images/../x"):
            assert ask(port, "DELETE", path) == 200
            assert node.requests[-1] == f"DELETE {path} HTTP/1.1"


@pytest.mark.parametrize(("method", "path"), REQUESTS[1:], ids=lambda text: text)
def test_what_a_lost_node_may_have_done_is_not_done_again(folder: Path, method: str, path: str) -> None:
    with running_node(cut) as first, running_node(cut) as second, before(folder, first.address, second.address) as port:
        assert ask(port, method, path) == 502
        assert len(first.requests + second.requests) == 1


@pytest.mark.parametrize(("method", "path"), REQUESTS, ids=lambda text: text)
def test_that_no_node_answers_is_said_as_docker_says_it(folder: Path, method: str, path: str) -> None:
    with before(folder, f"127.0.0.1:{free_port()}") as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request(method, path)
        assert json.loads(connection.getresponse().read()) == {"message": "Stowage does not answer"}
        connection.close()


def test_what_only_asks_is_asked_again(folder: Path) -> None:
    with running_node(cut) as lost, running_node(answer) as well, before(folder, lost.address, well.address) as port:
        assert {ask(port, "GET", "/images/json") for _ in range(8)} == {200}
    assert lost.requests


def test_a_node_that_answers_nothing_soon_gets_no_more_requests(folder: Path) -> None:
    stopped = threading.Event()

    def wait(connection: socket.socket) -> None:
        stopped.wait(60)

    with running_node(wait) as node, running_node(answer) as well, before(folder, node.address, well.address) as port:
        waiting: list[socket.socket] = []
        while not node.requests:
            waiting.append(socket.create_connection(("127.0.0.1", port)))
            waiting[-1].sendall(b"GET /images/json HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(lambda: len(node.requests + well.requests) == len(waiting), "no node got the request")
        assert {ask(port, "GET", "/images/json") for _ in range(10)} == {200}
        assert len(node.requests) == 1
        stopped.set()
        for connection in waiting:
            connection.close()


def test_a_node_whose_machine_is_lost_is_given_up_when_keepalive_notices(folder: Path) -> None:
    for program in ("iptables", "sysctl"):
        needs(program)
    stopped = threading.Event()

    def wait(connection: socket.socket) -> None:
        stopped.wait(60)

    with two_namespaces() as (servers, machine):
        servers.run("sysctl", "-qw", *(f"net.ipv4.tcp_keepalive_{name}=1" for name in ("time", "intvl", "probes")))
        with machine.entered():
            node = Node(wait, listener=socket.create_server((NODE, 0)))
        threading.Thread(target=node.serve, daemon=True).start()
        with node.listener, servers.entered(), before(folder, node.address) as port:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("POST", "/images/create?fromImage=app")
            until(lambda: len(node.requests) == 1, "the node got no request")
            machine.lose()
            assert connection.getresponse().status == 502
            connection.close()
        stopped.set()


def test_a_node_is_drained_while_a_stream_of_it_goes_on(folder: Path) -> None:
    drained = threading.Event()

    def stream(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        assert drained.wait(60)
        connection.sendall(b"3\r\ntwo\r\n0\r\n\r\n")

    port, tls_port = free_port(), free_port()
    with running_node(stream) as first, running_node(answer) as second:
        text = site(folder, port, tls_port, [first.address, f"{second.address} down"])
        with running_nginx(folder, text, port, tls_port) as nginx:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/images/get?names=app")
            answered = connection.getresponse()
            assert answered.read(3) == b"one"
            (folder / "site.conf").write_text(site(folder, port, tls_port, [f"{first.address} down", second.address]))
            nginx.send_signal(signal.SIGHUP)

            def only_the_second_is_asked() -> bool:  # the processes that nginx replaces still take connections
                asked = len(first.requests)
                return {ask(port, "GET", "/images/json") for _ in range(5)} == {200} and len(first.requests) == asked

            until(only_the_second_is_asked, "the drained node still gets requests")
            before_drained = len(first.requests)
            assert {ask(port, "GET", "/images/json") for _ in range(10)} == {200}
            assert len(first.requests) == before_drained
            drained.set()
            assert answered.read() == b"two"
            connection.close()


def test_nodes_on_other_machines_are_reached_over_tls(folder: Path) -> None:
    certify(folder, "nginx", "ca")
    tls = {"STOWAGE_TLS_CERT": "server.pem", "STOWAGE_TLS_KEY": "server.key", "STOWAGE_TLS_CA": "ca.pem"}
    service = Service(folder / "node" / "stowage", free_port(), {name: f"{folder}/{file}" for name, file in tls.items()})
    service.start()
    port, tls_port = free_port(), free_port()
    text = site(folder, port, tls_port, [f"127.0.0.1:{service.port}"]).replace("http://stowage", "https://stowage")
    text = re.sub(r"# (proxy_ssl_)", r"\1", text).replace("images.example.org", "localhost")
    try:
        with running_nginx(folder, text, port, tls_port):
            assert ask(port, "GET", "/_ping") == 200
            assert ask(port, "DELETE", "/images/nosuch") == 404
    finally:
        service.stop()
