"""Every way in which a request fails, at every place that makes one: the kind of error, whether another try may help, and the words.

The words are Docker's: those of containerd's client, of distribution's, and of Go's net/http. words.json, which was recorded, has one
trouble a line, with the sentence of each operation that meets it.
"""

from __future__ import annotations

import errno
import io
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from http.client import RemoteDisconnected
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    LocationParseError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from stowage.services.errors import (
    EngineError,
    Forbidden,
    InvalidParameter,
    NotAllowed,
    NotFound,
    RegistryFailure,
    ResourceExhausted,
    Unauthorized,
    Unavailable,
)
from stowage.services.oci import mediatypes
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.connections import HandshakeError
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.failure import Failed, Failure, NoToken, read_refusal
from stowage.services.registry.hosts import Hosts
from stowage.services.registry.repository import Repository
from stowage.services.registry.transport import DIRECT, Proxies, Transport
from stowage.services.registry.upload import Destination
from stowage.services.registry.words import is_lasting, pull_errors, reason, request_errors, status_line, url_error
from tests.engines import registry_client
from tests.fake_registry import TOKEN, Answer
from tests.fake_registry.server import CERTIFICATE, Handler, serving

RECORDED: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("words.json").read_text())
INSECURE = ("127.0.0.0/8",)
CONTENT = b"{}"
DIGEST = Digest.of(CONTENT)
LAYER = Descriptor(mediatypes.OCI_LAYER, DIGEST, len(CONTENT))
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar"
MANIFEST = Descriptor(mediatypes.OCI_MANIFEST, DIGEST, len(CONTENT))
LOGIN = Credentials(username="user", password="p4ss")
IDENTITY = Credentials(identity_token="who-i-am")
JSON = {"Content-Type": "application/json"}


class _Server(Handler, BaseHTTPRequestHandler):
    """Gives one answer to whatever it is asked, another to who has authorization, and hangs up where there is none; 404 while it is `calm`.

    An answer with a header `dropped` ends before this text.
    """

    answer: Answer | None
    authorized: Answer | None = None
    calm = threading.Event()
    tls = False

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        answer = self.authorized if self.authorized and "Authorization" in self.headers else self.answer
        if self.calm.is_set():
            answer = Answer(404)
        if answer is None:
            self.close_connection = True
            return
        headers = dict(answer.headers)
        dropped = headers.pop("dropped", "")
        self.send_response(answer.status)
        for name, value in headers.items():
            self.send_header(name, value.replace("{path}", self.path))
        self.send_header("Content-Length", str(len(answer.body) + len(dropped)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.close_connection = bool(dropped)

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815 - as http.server has it


def errors(*entries: tuple[str, str, object]) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail} for code, message, detail in entries]}).encode()


def redirect(location: str) -> Answer:
    return Answer(307, b"", {"Location": location})


def challenge(parameters: str = 'realm="http://{token}/t"', body: bytes = b"") -> Answer:
    return Answer(401, body, {"WWW-Authenticate": f"Bearer {parameters}"} | (JSON if body else {}))


BASIC = Answer(401, b"", {"WWW-Authenticate": 'Basic realm="x"'})
GIVEN = Answer(200, json.dumps({"token": TOKEN}).encode(), JSON)
WHO = errors(("UNAUTHORIZED", "who are you", None))


@dataclass(frozen=True, slots=True)
class Trouble:
    """What the registry answers, what once a header of authorization is sent, what the token server answers, and how the client
    is set up.
    """

    registry: Answer | None = None
    authorized: Answer | None = None
    token: Answer | None = None
    credentials: Credentials | None = None
    insecure: tuple[str, ...] = INSECURE
    tls: bool = False
    host: str = ""
    proxies: Proxies = DIRECT
    authority: str = ""


def token_trouble(token: Answer | None, credentials: Credentials | None = None) -> Trouble:
    return Trouble(challenge(), token=token, credentials=credentials)


TROUBLES = {
    "nobody listens": Trouble(host="{down}"),
    "no answer": Trouble(),
    "an unknown authority": Trouble(tls=True, insecure=()),
    "no TLS": Trouble(insecure=()),
    "a proxy that does not listen": Trouble(host="registry.invalid", insecure=(), proxies=Proxies(https="http://{down}")),
    "a redirect loop": Trouble(redirect("{path}")),
    "a redirect to a file": Trouble(redirect("file:///etc/passwd")),
    "a redirect to no URL": Trouble(redirect("http://[::1?signature=secret")),
    "a redirect to no port": Trouble(redirect("http://127.0.0.1:99999/x?signature=secret")),
    "a redirect to where nobody listens": Trouble(redirect("http://{down}/x?signature=secret")),
    "a redirect to where nobody answers": Trouble(redirect("http://{token}/x?signature=secret")),
    "a code that nobody knows": Trouble(Answer(400, errors(("OTHER", "why not", None)), JSON)),
    "a code without a message": Trouble(Answer(400, errors(("NAME_INVALID", "", None)), JSON)),
    "several errors": Trouble(
        Answer(403, errors(("DENIED", "", "a detail"), ("UNAUTHORIZED", "who", None), ("MANIFEST_UNKNOWN", "", {"Tag": 1})), JSON)
    ),
    "an absent repository": Trouble(Answer(404, errors(("NAME_UNKNOWN", "repository name not known to registry", {"name": "x"})), JSON)),
    "an absent manifest": Trouble(Answer(404, errors(("MANIFEST_UNKNOWN", "manifest unknown", None)), JSON)),
    "an older document": Trouble(Answer(403, b'{"details": "go away"}', JSON)),
    "both kinds of document": Trouble(Answer(401, b'{"details": "go away", "errors": [{"code": "DENIED", "message": "no"}]}', JSON)),
    "a document of no use": Trouble(Answer(400, b"{}", JSON)),
    "a document of the wrong kind": Trouble(Answer(400, b'{"errors": [{"code": 7}]}', JSON)),
    "null": Trouble(Answer(400, b"null", JSON)),
    "half a document": Trouble(Answer(400, b'{"errors": [', JSON)),
    "half a body": Trouble(Answer(400, b'{"errors": [', JSON | {"dropped": "]}"})),
    "a document that says it is a text": Trouble(Answer(403, errors(("DENIED", "go away", None)))),
    "401": Trouble(Answer(401, b"who are you")),
    "401 without JSON": Trouble(Answer(401, b"<html>", JSON)),
    "403": Trouble(Answer(403, b"go away")),
    "404": Trouble(Answer(404, b"<html>")),
    "405": Trouble(Answer(405, errors(("UNSUPPORTED", "", None)), JSON)),
    "429": Trouble(Answer(429, errors(("TOOMANYREQUESTS", "slow down", None)), JSON | {"Retry-After": "7"})),
    "429 with a text": Trouble(Answer(429, b"slow down", {"Retry-After": "soon"})),
    "500": Trouble(Answer(500, b"<html>")),
    "503": Trouble(Answer(503, errors(("UNAVAILABLE", "", None)), JSON | {"Retry-After": "9"})),
    "599": Trouble(Answer(599)),
    "a name and password are wanted": Trouble(BASIC),
    "a wrong password": Trouble(BASIC, credentials=LOGIN),
    "a challenge without a realm": Trouble(challenge('service="x"')),
    "a realm that is a file": Trouble(challenge('realm="file:///x"')),
    "a realm that is no URL": Trouble(challenge('realm="http://[::1"')),
    "a token of no use": Trouble(challenge(), challenge('realm="http://{token}/t"', WHO), GIVEN),
    "a token that opens nothing": Trouble(challenge(), challenge('realm="http://{token}/t",error="insufficient_scope"'), GIVEN),
    "a token that is no longer taken": Trouble(
        challenge(), challenge('realm="http://{token}/t",error="invalid_token",error_description="too old"', WHO), GIVEN, LOGIN
    ),
    "a token server that does not listen": Trouble(challenge('realm="http://{down}/t"')),
    "a token server that does not answer": token_trouble(None),
    "a token server that redirects to itself": token_trouble(redirect("{path}")),
    "a token server that redirects elsewhere": token_trouble(redirect("http://elsewhere.invalid/t?signature=secret")),
    "a token server that refuses": token_trouble(Answer(401, WHO, JSON), LOGIN),
    "a token server that refuses with a text": token_trouble(Answer(401, b"who are you"), LOGIN),
    "a token server that refuses with several errors": token_trouble(
        Answer(403, errors(("DENIED", "no", None), ("UNAUTHORIZED", "", None)), JSON), IDENTITY
    ),
    "a token server that does not exist": token_trouble(Answer(404, b"<html>")),
    "a token server that does not exist for tokens": token_trouble(Answer(404, b"<html>"), IDENTITY),
    "a token server with too much to do": token_trouble(
        Answer(429, errors(("TOOMANYREQUESTS", "slow down", None)), JSON | {"Retry-After": "7"})
    ),
    "a broken token server": token_trouble(Answer(500, b"<html>")),
    "a token server that says nothing of use": token_trouble(Answer(200, b"{}", JSON)),
    "a token server that says no document": token_trouble(Answer(200, b"<html>", JSON)),
    "a token server that sends half": token_trouble(Answer(200, b'{"token":', JSON | {"dropped": '"x"}'})),
    "a token that cannot be sent": Trouble(Answer(200), credentials=Credentials(registry_token="a\nb")),
    "a broken authority": Trouble(tls=True, insecure=(), authority="no certificate"),
    "a proxy that is no URL": Trouble(host="registry.invalid", insecure=(), proxies=Proxies(https="http://[::1")),
    "a proxy of no port": Trouble(host="registry.invalid", insecure=(), proxies=Proxies(https="http://proxy.invalid:99999")),
}


@dataclass(frozen=True, slots=True)
class Place:
    """A client, the host that is in trouble, and one that has nothing."""

    client: RegistryClient
    host: str
    absent: str
    credentials: Credentials | None
    calm: threading.Event

    @property
    def reference(self) -> Reference:
        return Reference.parse(f"{self.host}/team/app:1")

    def ask(self, operation: Callable[[Repository], object], *, host: str = "") -> None:
        reference = Reference.parse(f"{host or self.host}/team/app:1")
        with self.client.repository(reference, credentials=self.credentials) as repository:
            operation(repository)

    def push(self, operation: Callable[[Destination], object]) -> None:
        with self.client.destination(self.reference, credentials=self.credentials) as destination:
            operation(destination)

    def put_manifest(self, destination: Destination) -> None:
        """Put a manifest, after the way to the registry has been found while nothing was wrong."""
        self.calm.set()
        with suppress(EngineError):
            destination.has_manifest(MANIFEST, tag="1")
        self.calm.clear()
        destination.put_manifest(MANIFEST, CONTENT, tag="1")

    def log_in(self) -> None:
        given = self.credentials or Credentials()
        self.client.log_in(
            Credentials(given.username, given.password, given.identity_token, given.registry_token, server_address=self.host)
        )


def upload(destination: Destination) -> None:
    destination.upload(LAYER, lambda: io.BytesIO(CONTENT), mount_from="", advance=lambda _: None).proceed()


def mount(destination: Destination) -> None:
    destination.upload(LAYER, lambda: io.BytesIO(CONTENT), mount_from="other", advance=lambda _: None).proceed()


def foreign(host: str) -> Descriptor:
    return Descriptor(FOREIGN, DIGEST, len(CONTENT), urls=(f"http://{host}/layer?signature=secret",))


OPERATIONS: Mapping[str, Callable[[Place], object]] = {
    "resolve": lambda at: at.ask(lambda repository: repository.resolve(at.reference)),
    "manifest": lambda at: at.ask(lambda repository: repository.manifest(MANIFEST)),
    "blob": lambda at: at.ask(lambda repository: repository.blob(LAYER)),
    "rest of a blob": lambda at: at.ask(lambda repository: repository.blob(LAYER, offset=1)),
    "foreign layer": lambda at: at.ask(lambda repository: repository.blob(foreign(at.host)), host=at.absent),
    "read a tag": lambda at: at.ask(lambda repository: repository.read(at.reference)),
    "read a digest": lambda at: at.ask(lambda repository: repository.read(at.reference.with_digest(DIGEST))),
    "tags": lambda at: at.ask(lambda repository: repository.tags()),
    "has blob": lambda at: at.push(lambda destination: destination.has_blob(LAYER)),
    "upload": lambda at: at.push(upload),
    "mount": lambda at: at.push(mount),
    "put manifest": lambda at: at.push(at.put_manifest),
    "log in": lambda at: at.log_in(),
    "search": lambda at: at.client.search(at.host, "app", limit=25),
}


@contextmanager
def nobody() -> Iterator[str]:
    """A `host:port` that is taken, and where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@contextmanager
def in_trouble(trouble: Trouble, folder: Path) -> Iterator[tuple[Place, dict[str, str]]]:
    """A client and servers that are so set up, and the addresses that the words name."""
    with ExitStack() as stack:
        names = {"{down}": stack.enter_context(nobody()), "{folder}": str(folder)}
        names["{token}"] = stack.enter_context(serving(_Server, answer=_named(trouble.token, names)))
        calm = threading.Event()
        answers = {"answer": _named(trouble.registry, names), "authorized": _named(trouble.authorized, names)}
        served = stack.enter_context(serving(_Server, tls=trouble.tls, calm=calm, **answers))
        names["{host}"] = _replaced(trouble.host, names) or served
        names["{absent}"] = stack.enter_context(serving(_Server, answer=Answer(404)))
        if trouble.authority:
            for name in ("{host}", "{token}"):
                (folder / names[name]).mkdir()
                (folder / names[name] / "ca.crt").write_text(trouble.authority)
        client = registry_client(
            insecure=trouble.insecure,
            certs=(folder,),
            foreign_hosts=(names["{host}"], "127.0.0.1"),
            proxies=Proxies(https=_replaced(trouble.proxies.https, names)),
        )
        yield Place(client, names["{host}"], names["{absent}"], trouble.credentials, calm), names


def _named(answer: Answer | None, names: Mapping[str, str]) -> Answer | None:
    return answer and Answer(answer.status, answer.body, {key: _replaced(value, names) for key, value in answer.headers.items()})


def _replaced(text: str, names: Mapping[str, str]) -> str:
    for placeholder, name in names.items():
        text = text.replace(placeholder, name)
    return text


def words_of(operation: Callable[[Place], object], place: Place, names: Mapping[str, str]) -> str:
    """The kind of error, the seconds to wait where another try may help, and the sentence, with placeholders for addresses."""
    try:
        operation(place)
    except EngineError as error:
        later = "" if error.retry_after is None else f" (again in {error.retry_after:g} s)"
        sentence = _replaced(str(error), {name: placeholder for placeholder, name in names.items()} | {str(DIGEST): "{digest}"})
        sentence = re.sub(r"\[X509: .*\(_ssl\.c:\d+\)", "{openssl}", sentence)
        return f"{type(error).__name__}{later}: {sentence}"
    return "no error"


@pytest.mark.parametrize("name", TROUBLES)
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_a_failure_is_told_in_dockers_words(name: str, tmp_path: Path) -> None:
    told: dict[str, list[str]] = {}
    with in_trouble(TROUBLES[name], tmp_path) as (place, names):
        for operation, run in OPERATIONS.items():
            told.setdefault(words_of(run, place, names), []).append(operation)
    assert {", ".join(operations): words for words, operations in told.items()} == RECORDED[name]


URL = "https://registry.example/v2/app/manifests/1"


def refused(status: int, body: bytes, doing: str = "") -> EngineError:
    with pytest.raises(EngineError) as raised, pull_errors("app", doing):
        raise Failed(read_refusal("HEAD", HTTPResponse(status=status, request_url=URL), body))
    return raised.value


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b'{"errors":[{"code":"DENIED","message":"\\ud800 bad"}]}', "error from registry: \ufffd bad", id="lone surrogate"),
        pytest.param(
            b'{"errors":[{"code":"DENIED","message":"bad","detail":"\\udfff"}]}', "error from registry: bad - \ufffd", id="detail"
        ),
        pytest.param(b'{"errors":[{"code":"DENIED","message":"\xff"}]}', "error from registry: \ufffd", id="no UTF-8"),
        pytest.param(b'{"details":"\\ud800"}', "requested access to the resource is denied - \ufffd", id="older form"),
    ],
)
def test_words_that_are_no_text_are_told_as_far_as_they_are(body: bytes, words: str) -> None:
    error = refused(403, body)
    assert (type(error), str(error)) == (Forbidden, words)


@pytest.mark.parametrize("body", [b"", b"<html>", b"[" * 100_000, b'{"errors":' + b"9" * 5000 + b"}"])
def test_a_refusal_without_words_is_unknown(body: bytes) -> None:
    assert str(refused(403, body)) == f"unknown: unexpected status from HEAD request to {URL}: 403 Forbidden"


def test_what_was_done_stands_between_unknown_and_the_status() -> None:
    failure = read_refusal("GET", HTTPResponse(status=500, request_url=URL), b"")
    with pytest.raises(EngineError) as raised, pull_errors("app", "failed to resolve: "):
        raise Failed(failure)
    assert str(raised.value).startswith("unknown: failed to resolve: unexpected status from GET ")
    with pytest.raises(EngineError) as raised, pull_errors("app", "failed to resolve: "):
        raise Failed(Failure("HEAD", URL, NoToken("oauth token", failure)))
    assert str(raised.value).startswith(
        "unknown: failed to resolve: failed to authorize: failed to fetch oauth token: unexpected status from "
    )


def test_the_registrys_own_words_stand_alone() -> None:
    error = refused(400, b'{"errors":[{"code":"OTHER","message":"why not"}]}', doing="failed to resolve: ")
    assert str(error) == "error from registry: why not"


DOCUMENT = "application/json; charset=utf-8"


def answer(status: int, content_type: str = DOCUMENT) -> HTTPResponse:
    return HTTPResponse(status=status, headers={"Content-Type": content_type})


def refusal(response: HTTPResponse, body: bytes) -> EngineError:
    with pytest.raises(EngineError) as raised, request_errors():
        raise Failed(read_refusal("GET", response, body))
    return raised.value


def errors_of(*entries: object) -> bytes:
    return json.dumps({"errors": entries}).encode()


def entry(code: str, message: str = "", **fields: object) -> dict[str, object]:
    return {"code": code, "message": message, **fields}


@pytest.mark.parametrize(
    ("status", "content_type", "body", "kind", "message"),
    [
        pytest.param(404, DOCUMENT, errors_of(entry("MANIFEST_UNKNOWN", "not here")), NotFound, "manifest unknown: not here", id="message"),
        pytest.param(
            404, DOCUMENT, errors_of(entry("MANIFEST_UNKNOWN", "manifest unknown")), NotFound, "manifest unknown", id="default message"
        ),
        pytest.param(404, DOCUMENT, errors_of(entry("NAME_UNKNOWN")), NotFound, "name unknown", id="no message"),
        pytest.param(
            404,
            DOCUMENT,
            errors_of(entry("MANIFEST_UNKNOWN", "manifest unknown", detail={"Tag": "1"})),
            NotFound,
            "manifest unknown: manifest unknown",
            id="detail",
        ),
        pytest.param(
            401,
            DOCUMENT,
            errors_of(entry("DENIED"), entry("UNAUTHORIZED", "who are you")),
            Forbidden,
            "errors:\ndenied\nunauthorized: who are you\n",
            id="several, the first counts",
        ),
        pytest.param(
            429,
            DOCUMENT,
            errors_of(entry("TOOMANYREQUESTS", "slow down")),
            ResourceExhausted,
            "toomanyrequests: slow down",
            id="rate limit",
        ),
        pytest.param(405, DOCUMENT, errors_of(entry("UNSUPPORTED")), NotAllowed, "unsupported", id="unsupported"),
        pytest.param(403, DOCUMENT, errors_of(entry("UNAVAILABLE")), Unavailable, "unavailable", id="unavailable"),
        pytest.param(400, DOCUMENT, errors_of(entry("NAME_INVALID")), InvalidParameter, "name invalid", id="invalid name"),
        pytest.param(400, DOCUMENT, errors_of(entry("OTHER", "why not")), RegistryFailure, "unknown: why not", id="unknown code"),
        pytest.param(401, DOCUMENT, b'{"details": "no token"}', Unauthorized, "unauthorized: no token", id="details"),
        pytest.param(401, "", b"", Unauthorized, "unauthorized: ", id="401 without a body"),
        pytest.param(403, "text/plain", b"go away", Forbidden, "denied: go away", id="403 with a text"),
        pytest.param(429, "text/plain", b"later", ResourceExhausted, "toomanyrequests: later", id="429 with a text"),
        pytest.param(404, "text/html", b"<html>", RegistryFailure, "unknown: <html>", id="404 with a page"),
        pytest.param(
            404,
            DOCUMENT,
            b"{}",
            RegistryFailure,
            'error parsing HTTP 404 response body: no error details found in HTTP response body: "{}"',
            id="no errors",
        ),
        pytest.param(
            404,
            DOCUMENT,
            b"oops",
            RegistryFailure,
            "error parsing HTTP 404 response body: invalid character 'o' looking for beginning of value: \"oops\"",
            id="no DOCUMENT",
        ),
        pytest.param(401, DOCUMENT, b"oops", Unauthorized, "unauthorized: authentication required", id="401 without DOCUMENT"),
        pytest.param(
            500,
            DOCUMENT,
            errors_of(entry("UNKNOWN", "secret")),
            RegistryFailure,
            "received unexpected HTTP status: 500 Internal Server Error",
            id="500",
        ),
    ],
)
def test_a_refusal_is_told_in_dockers_words(status: int, content_type: str, body: bytes, kind: type[EngineError], message: str) -> None:
    error = refusal(answer(status, content_type), body)
    assert (type(error), str(error)) == (kind, message)


@pytest.mark.parametrize(
    "body", [b'{"errors": ["x"]}', b'{"errors": {"code": "DENIED"}}', b'{"errors": [{"code": 7}]}', b"[]", b"[" * 100_000]
)
def test_an_answer_of_the_wrong_shape_is_unreadable(body: bytes) -> None:
    assert str(refusal(answer(404), body)).startswith("error parsing HTTP 404 response body: ")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def eof_in_tls() -> ssl.SSLEOFError:
    error = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "EOF occurred in violation of protocol (_ssl.c:1006)")
    error.reason = "UNEXPECTED_EOF_WHILE_READING"
    return error


REFUSED = OSError(errno.ECONNREFUSED, "Connection refused")
RESET = ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")
UNCONNECTED = caused(NewConnectionError(HTTPConnection("x"), "x"), REFUSED)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(UNCONNECTED, "dial tcp {host}: connect: connection refused", id="refused"),
        pytest.param(ConnectTimeoutError("x"), "dial tcp {host}: i/o timeout", id="nobody there"),
        pytest.param(
            NameResolutionError("x", HTTPConnection("x"), socket.gaierror(-2, "Name or service not known")),
            "dial tcp: lookup registry.example: no such host",
            id="no such host",
        ),
        pytest.param(
            ProxyError("x", UNCONNECTED), "proxyconnect tcp: dial tcp {host}: connect: connection refused", id="proxy that does not listen"
        ),
        pytest.param(
            ProxyError("x", OSError("Tunnel connection failed: 403 Forbidden")),
            "proxyconnect tcp: Tunnel connection failed: 403 Forbidden",
            id="proxy that refuses",
        ),
        pytest.param(caused(HandshakeError("x"), TimeoutError()), "net/http: TLS handshake timeout", id="slow handshake"),
        pytest.param(caused(HandshakeError("x"), RESET), "connection reset by peer", id="broken handshake"),
        pytest.param(caused(HandshakeError("x"), eof_in_tls()), "EOF", id="handshake that ends"),
        pytest.param(ReadTimeoutError(HTTPConnectionPool("x"), "x", "x"), "net/http: timeout awaiting response headers", id="silence"),
        pytest.param(caused(ProtocolError("x"), RemoteDisconnected("x")), "EOF", id="hung up"),
        pytest.param(caused(ProtocolError("x"), RESET), "connection reset by peer", id="reset"),
        pytest.param(ProtocolError("Connection broken"), "Connection broken", id="the library's own words"),
        pytest.param(RegistryFailure("stopped after 10 redirects"), "stopped after 10 redirects", id="a sentence"),
        pytest.param(caused(RegistryFailure("stopped"), RESET), "stopped", id="a sentence after an earlier request's failure"),
    ],
)
@pytest.mark.parametrize("port", [":5000", ""])
def test_why_there_is_no_answer_is_told_in_gos_words(error: Exception, words: str, port: str) -> None:
    told = url_error("HEAD", f"https://registry.example{port}/v2/x?signature=secret", error)
    assert told == f'Head "https://registry.example{port}/v2/x": {words.format(host="registry.example" + (port or ":443"))}'
    assert not is_lasting(error)


def test_a_url_that_cannot_be_asked_is_not_told_and_stays_so() -> None:
    error = LocationParseError("http://user:secret@x:99999/")
    assert (reason(error), is_lasting(error)) == ("no valid host in request URL", True)


@pytest.mark.parametrize(("status", "words"), [(404, "404 Not Found"), (599, "599")])
def test_a_status_is_printed_as_go_prints_it(status: int, words: str) -> None:
    assert status_line(status) == words


def answer_in_plain_http(connection: socket.socket) -> None:
    connection.recv(4096)
    connection.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")


def want_a_client_certificate(connection: socket.socket) -> None:
    context = server_context()
    context.load_verify_locations(CERTIFICATE)
    context.verify_mode = ssl.CERT_REQUIRED
    shake_hands(context, connection)


def speak_only_old_tls(connection: socket.socket) -> None:
    context = server_context()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    shake_hands(context, connection)


def server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    return context


def shake_hands(context: ssl.SSLContext, connection: socket.socket) -> None:
    """Refuse the client, and hang up only after it did, so that it has read why."""
    with pytest.raises(ssl.SSLError):
        context.wrap_socket(connection.dup(), server_side=True)
    while connection.recv(4096):
        pass


@contextmanager
def serving_once(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            answer(connection)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=serve)
        server.start()
        yield f"https://127.0.0.1:{listener.getsockname()[1]}/v2/"
        server.join(10)
        assert not server.is_alive()


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(answer_in_plain_http, "http: server gave HTTP response to HTTPS client", id="plain HTTP"),
        pytest.param(want_a_client_certificate, "remote error: tls: certificate required", id="no client certificate"),
        pytest.param(speak_only_old_tls, "remote error: tls: protocol version not supported", id="old TLS"),
    ],
)
def test_a_registry_without_tls_for_us_is_told_in_gos_words_and_not_asked_again(
    answer: Callable[[socket.socket], None], words: str
) -> None:
    with serving_once(answer) as url, pytest.raises(Failed) as raised:
        Transport(Hosts(insecure=("127.0.0.0/8",)), stall_seconds=60).send("GET", url, {}, insecure=True)
    failure = raised.value.failure
    assert isinstance(failure.reason, Exception)
    assert (failure.method, failure.url, reason(failure.reason), failure.retry_after) == ("GET", url, words, None)
