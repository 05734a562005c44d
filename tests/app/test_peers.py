"""Whose connection a server without the service's own settings may answer."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from stowage.app.application import create_app
from stowage.app.peers import describe_peer
from stowage.app.settings import Config
from stowage.services.engine import Engine


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.8.9.10", "", "localhost"])
def test_this_machine_is_answered(client: FlaskClient, peer: str) -> None:
    assert client.get("/_ping", environ_overrides={"REMOTE_ADDR": peer}).status_code == 200


@pytest.mark.parametrize(
    "peer", ["10.0.0.5", "::ffff:10.0.0.5", "2001:db8::5", "fe80::5%eth0", "0.0.0.0", "::", "127.0.0.1.example", "unknown"]
)
def test_other_machines_are_refused_with_a_sentence_that_names_the_settings(client: FlaskClient, peer: str) -> None:
    answer = client.get("/_ping", environ_overrides={"REMOTE_ADDR": peer})
    assert (answer.status_code, answer.content_type) == (403, "application/json")
    message = answer.get_json()["message"]
    assert all(name in message for name in ("STOWAGE_TLS_CERT", "STOWAGE_TLS_KEY", "STOWAGE_TLS_CA", "STOWAGE_ALLOW_INSECURE_TCP=1"))


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "Forwarded", "Remote-Addr", "Client-IP"])
def test_headers_do_not_tell_the_peer(client: FlaskClient, header: str) -> None:
    claim = {header: "for=127.0.0.1" if header == "Forwarded" else "127.0.0.1"}
    assert client.get("/_ping", headers=claim, environ_overrides={"REMOTE_ADDR": "10.0.0.5"}).status_code == 403


def test_whoever_allows_insecure_tcp_is_asked_nothing(engine: Engine, tmp_path: Path) -> None:
    config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root"), "STOWAGE_ALLOW_INSECURE_TCP": "1"})
    client = create_app(config, build=lambda _: engine).test_client()
    assert client.get("/_ping", environ_overrides={"REMOTE_ADDR": "10.0.0.5"}).status_code == 200


def ping_over(app: Flask, connection: socket.socket, claimed: str) -> int:
    """The status of a ping over this connection of gunicorn's, of which a proxy claims that it is from this address."""
    overrides = {"gunicorn.socket": connection, "REMOTE_ADDR": claimed}
    return app.test_client().get("/_ping", environ_overrides=overrides).status_code


def test_the_connection_counts_and_not_what_a_proxy_claims(app: Flask) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()):
        server, _ = listener.accept()
        with server:
            assert ping_over(app, server, claimed="10.0.0.5") == 200


def test_a_unix_socket_has_no_address(app: Flask) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert ping_over(app, ours, claimed="") == 200


def test_a_connection_that_is_gone_is_refused(app: Flask) -> None:
    with socket.socket() as never_connected:
        assert ping_over(app, never_connected, claimed="127.0.0.1") == 403


def test_the_peer_of_a_unix_socket_is_a_process() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert describe_peer({"gunicorn.socket": ours, "REMOTE_ADDR": ""}) == {"uid": os.getuid(), "pid": os.getpid()}


@pytest.mark.parametrize(
    ("environ", "peer"),
    [
        ({"REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1024"}, {"address": "192.0.2.1:1024"}),
        ({"REMOTE_ADDR": "2001:db8::1", "REMOTE_PORT": "1024"}, {"address": "[2001:db8::1]:1024"}),
        ({"REMOTE_ADDR": "192.0.2.1"}, {"address": "192.0.2.1"}),
        ({"REMOTE_ADDR": ""}, {}),
        ({}, {}),
    ],
)
def test_any_other_peer_has_the_address_that_the_server_says(environ: dict[str, str], peer: dict[str, str]) -> None:
    assert describe_peer(environ) == peer


class Verified:
    """A TLS connection whose client has this subject, as the ssl module reports it."""

    family = socket.AF_INET

    def __init__(self, *parts: tuple[tuple[str, str], ...]) -> None:
        self._parts = parts

    def getpeercert(self) -> dict[str, object]:
        return {"subject": self._parts} if self._parts else {}


@pytest.mark.parametrize(
    ("parts", "subject"),
    [
        pytest.param([(("commonName", "alice"),)], "CN=alice", id="a name"),
        pytest.param(
            [(("countryName", "DE"),), (("organizationName", "A"),), (("commonName", "b"),)], "CN=b,O=A,C=DE", id="the last first"
        ),
        pytest.param([(("commonName", "a"), ("userId", "b"))], "CN=a+UID=b", id="two in one part"),
        pytest.param([(("commonName", "a,CN=root"),)], r"CN=a\,CN=root", id="a value like a part"),
        pytest.param([(("commonName", 'a\\"'),)], r"CN=a\\\"", id="escapes"),
        pytest.param([(("emailAddress", "a@b"),)], "emailAddress=a@b", id="another type"),
    ],
)
def test_a_verified_peer_has_the_subject_of_its_certificate(parts: list[tuple[tuple[str, str], ...]], subject: str) -> None:
    environ = {"gunicorn.socket": Verified(*parts), "REMOTE_ADDR": "192.0.2.1", "REMOTE_PORT": "1"}
    assert describe_peer(environ) == {"address": "192.0.2.1:1", "subject": subject}


def test_a_peer_without_a_verified_certificate_has_no_subject() -> None:
    assert describe_peer({"gunicorn.socket": Verified(), "REMOTE_ADDR": "192.0.2.1"}) == {"address": "192.0.2.1"}
