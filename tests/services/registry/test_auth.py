"""Challenges, token servers and logins."""

from __future__ import annotations

import ipaddress
import json
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from stowage.services.errors import EngineError, InvalidParameter, NotFound, RegistryFailure, Unauthorized
from stowage.services.oci import gojson
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.reference import Reference
from stowage.services.registry.auth import Realms, _lifetime, _read_token
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.failure import Challenge, parse_challenges
from stowage.services.registry.hosts import Endpoint, HostNames, Hosts
from stowage.services.registry.transport import Transport
from tests.builders import simple_layout
from tests.engines import registry_client
from tests.fake_registry import TOKEN, Answer, FakeRegistry
from tests.services.registry.clients import JSON, errors, published

LOGIN = Credentials(username="user", password="p4ss")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param("", [], id="empty"),
        pytest.param("Basic", [Challenge("basic", {})], id="a scheme alone"),
        pytest.param('Basic realm="x"', [Challenge("basic", {"realm": "x"})], id="basic"),
        pytest.param(
            'Bearer realm="https://a.example/token",service="r",scope="repository:a/b:pull,push"',
            [Challenge("bearer", {"realm": "https://a.example/token", "service": "r", "scope": "repository:a/b:pull,push"})],
            id="commas inside quotes",
        ),
        pytest.param('Bearer realm="a\\"b", service=r', [Challenge("bearer", {"realm": 'a"b', "service": "r"})], id="escapes and tokens"),
        pytest.param(
            'Bearer realm="a", Basic realm="b"', [Challenge("bearer", {"realm": "a"}), Challenge("basic", {"realm": "b"})], id="two in one"
        ),
        pytest.param('Bearer realm="unfinished', [Challenge("bearer", {})], id="unfinished"),
    ],
)
def test_challenges_are_read(header: str, expected: list[Challenge]) -> None:
    assert parse_challenges([header]) == expected


def resolve(registry: FakeRegistry, credentials: Credentials | None = None) -> Descriptor:
    layout = simple_layout()
    reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
    with registry_client(insecure=("127.0.0.0/8",)).repository(reference, credentials=credentials) as repository:
        return repository.resolve(reference)


@pytest.mark.parametrize(
    ("auth", "user", "credentials"),
    [
        pytest.param("bearer", "", None, id="anonymous token"),
        pytest.param("bearer", "user:p4ss", LOGIN, id="token for a user"),
        pytest.param("basic", "user:p4ss", LOGIN, id="basic"),
        pytest.param("bearer", "user:p4ss", Credentials(registry_token=TOKEN), id="a token that the client has"),
    ],
)
def test_a_challenge_is_answered(auth: str, user: str, credentials: Credentials | None) -> None:
    with FakeRegistry(auth=auth, user=user).serve() as registry:
        assert resolve(registry, credentials).size > 0


def test_a_token_is_asked_for_the_repository_and_reused() -> None:
    with FakeRegistry(auth="bearer").serve() as registry:
        layout = simple_layout()
        reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
        with registry_client(insecure=("127.0.0.0/8",)).repository(reference) as repository:
            repository.manifest(repository.resolve(reference))
        assert registry.asked() == ["HEAD 1", "GET token", "HEAD 1", f"GET {layout.manifests[0]['digest']}"]
        assert registry.requests[1].query == {"service": ["fake"], "scope": ["repository:team/app:pull"]}


@pytest.mark.parametrize(
    ("auth", "credentials", "kind", "words"),
    [
        pytest.param(
            "bearer",
            None,
            NotFound,
            "pull access denied for {name}, repository does not exist or may require 'docker login'",
            id="no login",
        ),
        pytest.param(
            "bearer",
            Credentials(username="user", password="wr0ng"),
            NotFound,
            "pull access denied for {name}, repository does not exist or may require 'docker login'",
            id="wrong login",
        ),
        pytest.param(
            "basic",
            None,
            RegistryFailure,
            'failed to resolve reference "{name}:1": pull access denied, repository does not exist or may require authorization: '
            "authorization failed: no basic auth credentials",
            id="basic without login",
        ),
        pytest.param(
            "basic",
            Credentials(username="user", password="wr0ng"),
            RegistryFailure,
            'unknown: failed to resolve reference "{name}:1": unexpected status from '
            "HEAD request to http://{host}/v2/team/app/manifests/1: "
            "401 Unauthorized",
            id="basic with a wrong login",
        ),
    ],
)
def test_a_closed_repository_is_refused_in_dockers_words(
    auth: str, credentials: Credentials | None, kind: type[EngineError], words: str
) -> None:
    with FakeRegistry(auth=auth, user="user:p4ss").serve() as registry:
        with pytest.raises(kind) as raised:
            resolve(registry, credentials)
        assert str(raised.value) == words.format(name=f"{registry.host}/team/app", host=registry.host)
        assert "wr0ng" not in str(raised.value)


def test_credentials_for_another_registry_are_not_sent() -> None:
    with FakeRegistry(auth="basic", user="user:p4ss").serve() as registry:
        with pytest.raises(RegistryFailure, match="no basic auth credentials"):
            resolve(registry, Credentials(username="user", password="p4ss", server_address="registry.example"))
        assert not any("Authorization" in request.headers for request in registry.requests)


def test_a_secret_is_not_sent_to_a_token_server_without_tls() -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss").serve() as registry:
        registry.token_realm = "http://auth.example/token"
        with pytest.raises(RegistryFailure, match=r"the token server at auth\.example does not use https"):
            resolve(registry, LOGIN)


@pytest.mark.parametrize(
    ("realm", "words"),
    [
        pytest.param("http://[::1", "the realm is not a URL", id="open bracket"),
        pytest.param("file:///etc/passwd", "the realm is not the URL of a token server", id="file"),
        pytest.param("http://127.0.0.1:99999/", "the realm is not a URL", id="port too large"),
    ],
)
def test_a_realm_that_is_no_url_is_refused(realm: str, words: str) -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss").serve() as registry:
        registry.token_realm = realm
        with pytest.raises(RegistryFailure, match=words):
            resolve(registry, LOGIN)


class TestTokens:
    """A token is used as long as the registry takes it."""

    def test_a_token_is_renewed_when_the_registry_no_longer_takes_it(self) -> None:
        with FakeRegistry(auth="bearer", user="user:p4ss").serve() as registry:
            layout = simple_layout()
            reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
            with registry_client(insecure=("127.0.0.0/8",)).repository(reference, credentials=LOGIN) as repository:
                target = repository.resolve(reference)
                registry.token = "another-token"
                repository.manifest(target)
            assert registry.asked().count("GET token") == 2

    def test_an_identity_token_is_exchanged_by_post(self) -> None:
        with FakeRegistry(auth="bearer", user="user:p4ss", identity_token="who-i-am").serve() as registry:
            assert resolve(registry, Credentials(identity_token="who-i-am")).size > 0
            assert registry.asked("POST") == ["POST token"]
            assert "who-i-am" not in str(registry.requests)

    def test_a_wrong_registry_token_is_not_tried_twice(self) -> None:
        with FakeRegistry(auth="bearer").serve() as registry:
            with pytest.raises(EngineError):
                resolve(registry, Credentials(registry_token="wrong-token"))
            assert registry.asked() == ["HEAD 1"]

    def test_a_wrong_password_is_not_tried_twice(self) -> None:
        with FakeRegistry(auth="basic", user="user:p4ss").serve() as registry:
            layout = simple_layout()
            reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
            wrong = Credentials(username="user", password="wr0ng")
            with registry_client(insecure=("127.0.0.0/8",)).repository(reference, credentials=wrong) as repository:
                for _ in range(3):
                    with pytest.raises(EngineError):
                        repository.resolve(reference)
            assert registry.asked() == ["HEAD 1"] * 4

    def test_a_bearer_challenge_counts_before_a_basic_one(self) -> None:
        with FakeRegistry(auth="bearer", user="user:p4ss").serve() as registry:
            registry.challenge = f'Basic realm="x", Bearer realm="{registry.base}/token",service="fake"'
            assert resolve(registry, LOGIN).size > 0

    @pytest.mark.parametrize("name", ["token", "access_token", "refresh_token"])
    def test_a_token_that_is_longer_than_any_header_is_refused(self, name: str) -> None:
        granted = {"token": TOKEN, name: "x" * (64 << 10)}
        assert getattr(_read_token(json.dumps(granted).encode()), "refresh" if name == "refresh_token" else "text") == granted[name]
        granted[name] += "x"
        with FakeRegistry(auth="bearer").serve() as registry:
            registry.answers["token"] = Answer(200, json.dumps(granted).encode(), JSON)
            with pytest.raises(RegistryFailure, match="authorization server sent a token of more than 65536 characters$"):
                resolve(registry)

    def test_an_answer_of_a_token_server_with_too_many_values_is_not_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(gojson, "_load", lambda *_, **__: pytest.fail("decoded"))
        with FakeRegistry(auth="bearer").serve() as registry:
            values = b"{}," * gojson.MAX_VALUES
            registry.answers["token"] = Answer(200, b'{"token":"t","values":[' + values + b"0]}", JSON)
            with pytest.raises(RegistryFailure, match="unable to decode token response: a JSON document has more than 131072 values$"):
                resolve(registry)

    def test_the_newest_of_many_tokens_are_redacted_and_not_all_kept(self) -> None:
        def renew_and_refuse(registry: FakeRegistry) -> None:
            reference = published(registry)
            with registry_client(insecure=("127.0.0.0/8",)).repository(reference, credentials=None) as repository:
                descriptor = repository.resolve(reference)
                for number in range(40):
                    registry.token = f"token-{number}"
                    repository.manifest(descriptor)
                assert len(repository._requests.secrets()) < 40
                registry.answers["1"] = Answer(403, errors("DENIED", message="not with token-38, nor with token-39"), JSON)
                repository.resolve(reference)

        with FakeRegistry(auth="bearer").serve() as registry:
            with pytest.raises(EngineError, match=r"not with \[secret\], nor with \[secret\]$"):
                renew_and_refuse(registry)
            assert registry.asked().count("GET token") == 41

    @pytest.mark.parametrize(
        ("fields", "least", "most"),
        [
            pytest.param({}, 59, 60, id="nothing said"),
            pytest.param({"expires_in": 1}, 59, 60, id="too short"),
            pytest.param({"expires_in": 300}, 299, 300, id="from now on"),
            pytest.param({"expires_in": 300, "issued_at": "2001-01-01T00:00:00Z"}, 299, 300, id="another clock"),
            pytest.param({"expires_in": 300, "issued_at": "never"}, 299, 300, id="no time"),
            pytest.param({"expires_in": "300"}, 59, 60, id="a text"),
            pytest.param({"expires_in": 10**400, "issued_at": "2001-01-01T00:00:00Z"}, 365 * 86_400, 365 * 86_400, id="for ever"),
        ],
    )
    def test_a_token_has_its_time(self, fields: dict[str, object], least: float, most: float) -> None:
        assert least <= _lifetime(fields) <= most

    def test_a_token_that_was_issued_before_has_less_time(self) -> None:
        issued = datetime.fromtimestamp(time.time() - 100, UTC).isoformat()
        assert 190 <= _lifetime({"expires_in": 300, "issued_at": issued}) <= 200


@pytest.mark.parametrize(
    ("credentials", "secret"),
    [
        pytest.param(LOGIN, "dXNlcjpwNHNz", id="password"),
        pytest.param(Credentials(identity_token="who-i-am"), "who-i-am", id="identity token"),
        pytest.param(Credentials(identity_token='who/i am+"=='), "who", id="escaped identity token"),
    ],
)
def test_a_token_server_that_echoes_a_secret_does_not_spread_it(credentials: Credentials, secret: str) -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", echoes=True).serve() as registry:
        with pytest.raises(EngineError) as raised:
            resolve(registry, credentials)
        assert "[secret]" in str(raised.value)
        assert secret not in str(raised.value)


def test_a_secret_is_not_sent_in_plain_http_to_a_host_that_is_not_insecure(tmp_path: Path) -> None:
    with FakeRegistry(auth="basic", user="user:p4ss").serve() as registry:
        layout = simple_layout()
        reference = Reference.parse(registry.publish(layout, layout.manifests[0]) + ":1")
        folder = tmp_path / registry.host
        folder.mkdir()
        (folder / "hosts.toml").write_text(f'server = "{registry.base}"')
        client = registry_client(certs=(tmp_path,))
        with client.repository(reference, credentials=LOGIN) as repository, pytest.raises(RegistryFailure, match="no basic auth"):
            repository.resolve(reference)
        assert not any("Authorization" in request.headers for request in registry.requests)


ADDRESSES = {
    "public.example": "8.8.8.8",
    "auth.public.example": "1.1.1.1",
    "inside.example": "10.0.0.5",
    "auth.inside.example": "10.0.0.6",
    "loopback.example": "127.0.0.1",
    "metadata.example": "169.254.169.254",
    "mapped.example": "::ffff:10.0.0.5",
}
PUBLIC, INSIDE = "public.example", "inside.example"


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names without a network."""

    def addresses(host: str) -> list[object]:
        name = host.partition(":")[0]
        return [ipaddress.ip_address(ADDRESSES[name])] if name in ADDRESSES else []

    monkeypatch.setattr("stowage.services.registry.auth.addresses", addresses)


def check(registry: str, realm: str, *, insecure: tuple[str, ...] = (), allowed: tuple[str, ...] = ()) -> bool:
    endpoint = Endpoint(f"https://{registry}/v2", insecure=registry in insecure)
    return Realms(Transport(Hosts(insecure=insecure), stall_seconds=60), HostNames(allowed), setting="STOWAGE_AUTH_REALMS").allows_insecure(
        realm, endpoint
    )


@pytest.mark.parametrize(
    ("registry", "realm", "insecure", "allowed"),
    [
        pytest.param(PUBLIC, "https://public.example/token", (), (), id="itself"),
        pytest.param(PUBLIC, "https://auth.public.example/token", (), (), id="another public host"),
        pytest.param(INSIDE, "https://auth.inside.example/token", (), (), id="private hosts among themselves"),
        pytest.param(INSIDE, "https://auth.public.example/token", (), (), id="a public host of a private registry"),
        pytest.param(PUBLIC, "https://inside.example/token", (), (INSIDE,), id="a private host that is allowed"),
        pytest.param(PUBLIC, "https://public.example/token", (), ("other.example",), id="itself, whatever else is allowed"),
        pytest.param("by.proxy", "https://auth.by.proxy/token", (), (), id="names that only a proxy knows"),
    ],
)
def test_a_token_server_over_verified_tls(registry: str, realm: str, insecure: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    assert check(registry, realm, insecure=insecure, allowed=allowed) is False


def test_plain_http_where_both_are_insecure_registries() -> None:
    assert check(INSIDE, "http://auth.inside.example/token", insecure=(INSIDE, "auth.inside.example"))


@pytest.mark.parametrize(
    ("registry", "realm", "insecure", "allowed", "words"),
    [
        pytest.param(PUBLIC, "http://auth.public.example/token", (), (), "does not use https", id="plain HTTP"),
        pytest.param(PUBLIC, "http://public.example/token", (), (), "does not use https", id="plain HTTP at itself"),
        pytest.param(INSIDE, "http://auth.inside.example/", (INSIDE,), (), "does not use https", id="only the registry is insecure"),
        pytest.param(PUBLIC, "http://inside.example/", (INSIDE,), (), "does not use https", id="only the token server is insecure"),
        pytest.param(PUBLIC, "https://inside.example/token", (), (), "in a private network", id="private"),
        pytest.param(PUBLIC, "https://loopback.example:8443/", (), (), "in a private network", id="loopback"),
        pytest.param(PUBLIC, "https://metadata.example/", (), (), "in a private network", id="link-local"),
        pytest.param(PUBLIC, "https://mapped.example/", (), (), "in a private network", id="private in IPv6"),
        pytest.param(PUBLIC, "https://auth.public.example/", (), ("other.example",), "STOWAGE_AUTH_REALMS", id="not allowed"),
        pytest.param(PUBLIC, "https://user@public.example/", (), (), "not the URL of a token server", id="a user name"),
        pytest.param(PUBLIC, "https:///token", (), (), "not the URL of a token server", id="no host"),
        pytest.param(PUBLIC, "file:///etc/passwd", (), (), "failed to authorize: the realm is not the URL of a token server", id="a file"),
    ],
)
def test_a_token_server_that_may_not_be_named(
    registry: str, realm: str, insecure: tuple[str, ...], allowed: tuple[str, ...], words: str
) -> None:
    with pytest.raises(RegistryFailure, match=words):
        check(registry, realm, insecure=insecure, allowed=allowed)


LOOPBACK = ("127.0.0.0/8",)


def log_in(address: str, password: str = "p4ss", **secrets: str) -> str:
    credentials = Credentials(username="user" if password else "", password=password, server_address=address, **secrets)
    return registry_client(insecure=LOOPBACK).log_in(credentials)


@pytest.mark.parametrize("auth", ["", "basic", "bearer"])
@pytest.mark.parametrize("address", ["{host}", "http://{host}", "https://{host}/v1/", "http://{host}/v2/"])
def test_right_credentials_are_taken_at_any_spelling_of_the_address(auth: str, address: str) -> None:
    with FakeRegistry(auth=auth, user="user:p4ss").serve() as registry:
        assert log_in(address.format(host=registry.host)) == ""


def test_the_token_server_may_give_an_identity_token() -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", identity_token="for-later").serve() as registry:
        assert log_in(registry.host) == "for-later"
        [asked] = [request for request in registry.requests if request.path == "/token"]
        assert asked.query == {"service": ["fake"], "offline_token": ["true"], "client_id": ["docker"], "account": ["user"]}


def test_an_identity_token_logs_in_and_is_kept() -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", identity_token="for-later").serve() as registry:
        assert log_in(registry.host, password="", identity_token="for-later") == "for-later"
        assert registry.asked() == ["GET ", "POST token", "GET "]
        assert registry.requests[-1].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("auth", ["", "basic"])
def test_an_identity_token_that_is_not_asked_for_is_kept(auth: str) -> None:
    with FakeRegistry(auth=auth, user="user:p4ss").serve() as registry:
        assert log_in(registry.host, identity_token="for-later") == "for-later"


@pytest.mark.parametrize(
    ("auth", "password", "kind", "words"),
    [
        pytest.param("basic", "wrong", RegistryFailure, "login attempt to {v2} failed with status: 401 Unauthorized", id="basic"),
        pytest.param("bearer", "wrong", RegistryFailure, "login attempt to {v2} failed with status: 401 Unauthorized", id="bearer"),
        pytest.param("basic", "", RegistryFailure, 'Get "{v2}": no basic auth credentials', id="no password"),
    ],
)
def test_wrong_credentials_are_refused_after_one_try(auth: str, password: str, kind: type[EngineError], words: str) -> None:
    with FakeRegistry(auth=auth, user="user:p4ss").serve() as registry:
        with pytest.raises(kind) as raised:
            log_in(registry.host, password)
        assert str(raised.value) == words.format(v2=f"{registry.base}/v2/")
        assert len(registry.requests) <= 3


def test_the_token_servers_words_are_told_without_the_secret() -> None:
    with FakeRegistry(auth="bearer", user="user:p4ss", echoes=True).serve() as registry:
        with pytest.raises(Unauthorized) as raised:
            log_in(registry.host)
        assert str(raised.value).startswith(f'Get "{registry.base}/v2/": unauthorized: what is Basic [secret]')


@pytest.mark.parametrize("address", ["http://[::1", "https://", "http://user@host", "a b", "host:99999"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(InvalidParameter, match="unable to parse server address: "):
        log_in(address)


def test_a_registry_that_does_not_listen_is_told() -> None:
    with pytest.raises(RegistryFailure, match=r'Get "https?://127\.0\.0\.1:1/v2/": dial tcp 127\.0\.0\.1:1: connect: connection refused'):
        log_in("127.0.0.1:1")
