"""Answers that no honest registry gives: they end in an error that tells no secret, or in the next host, and never in the store or the
memory.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, InvalidContent, NotFound, RegistryFailure
from stowage.services.images.pull import pull_image
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.reference import Reference
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.failure import Challenge, parse_challenges
from stowage.services.registry.transport import Proxies
from tests.engines import registry_client
from tests.fake_registry import Answer, FakeRegistry, Fault
from tests.services.registry.clients import INSECURE, published

MIB = 1 << 20


def resolve(reference: Reference, credentials: Credentials | None = None, client: RegistryClient | None = None) -> Descriptor:
    with (client or registry_client(insecure=INSECURE)).repository(reference, credentials=credentials) as repository:
        return repository.resolve(reference)


@pytest.mark.parametrize(
    "padding",
    [pytest.param(" " * 60_000, id="spaces"), pytest.param(" ," * 30_000, id="commas"), pytest.param("a " * 30_000, id="schemes")],
)
def test_a_long_challenge_is_read_in_one_go(padding: str) -> None:
    assert parse_challenges([f'Bearer realm="x"{padding}1'])[0] == Challenge("bearer", {"realm": "x"})


def test_a_chunk_of_less_than_nothing_does_not_lift_the_limit() -> None:
    body = b"-1\r\n" + bytes(40 * MIB)
    registry = FakeRegistry(answers={"list": Answer(500, body, {"Transfer-Encoding": "chunked"})})
    with registry.serve(), registry_client(insecure=INSECURE).repository(published(registry)) as repository:
        tracemalloc.start()
        try:
            with pytest.raises(RegistryFailure):
                repository.tags()
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 4 * MIB


def test_an_answer_without_a_media_type_is_refused_in_a_sentence() -> None:
    with FakeRegistry().serve() as registry:
        reference = published(registry)
        registry.answers["1"] = Answer(200, b"hello")
        with pytest.raises(InvalidContent) as raised:
            resolve(reference)
    sentence = f"the answer for {reference} has no Content-Type, and its body does not name the media type of a manifest"
    assert str(raised.value) == sentence


@pytest.mark.parametrize("token", ["hunter2-secret\n", "hunter2-secret\u20ac"], ids=["a line break", "no latin letter"])
def test_a_token_that_cannot_be_sent_is_not_told(token: str) -> None:
    with FakeRegistry().serve() as registry:
        with pytest.raises(RegistryFailure, match="invalid URL or header field value") as raised:
            resolve(published(registry), Credentials(registry_token=token))
        assert registry.requests == []
    assert "hunter2" not in str(raised.value)


def test_an_empty_token_is_none() -> None:
    registry = FakeRegistry(auth="bearer", answers={"token": Answer(200, b'{"token": ""}')})
    words = "authorization server did not include a token in the response"
    with registry.serve(), pytest.raises(RegistryFailure, match=words):
        resolve(published(registry))


def test_a_basic_challenge_after_a_bearer_token_is_answered() -> None:
    """A registry in front of which something else wants a name and password."""
    with FakeRegistry(auth="basic", user="user:p4ss").serve() as registry, FakeRegistry().serve() as tokens:
        registry.challenge = f'Bearer realm="{tokens.base}/token"'
        reference = published(registry)
        with registry_client(insecure=INSECURE).repository(
            reference, credentials=Credentials(username="user", password="p4ss")
        ) as repository:
            with pytest.raises(EngineError):
                repository.resolve(reference)
            registry.challenge = ""
            repository.resolve(reference)


@pytest.mark.parametrize("location", [f"http://{'a' * 300}.example/", "http://elsewhere.example:99999/"], ids=["long name", "no port"])
def test_a_mirror_that_redirects_to_nowhere_is_passed_over(tmp_path: Path, location: str) -> None:
    with FakeRegistry().serve() as mirror, FakeRegistry().serve() as server:
        published(mirror)
        mirror.answers["1"] = Answer(307, b"", {"Location": location})
        folder = tmp_path / "registry.invalid"
        folder.mkdir()
        (folder / "hosts.toml").write_text(f'server = "{server.base}"\n[host."{mirror.base}"]\n')
        name = published(server)
        reference = Reference.parse(f"registry.invalid/{name.path}:1")
        client = registry_client(insecure=INSECURE, certs=(tmp_path,), proxies=Proxies(http="http://127.0.0.1:9"))
        assert resolve(reference, client=client).digest
        assert mirror.asked() == ["HEAD 1"]


def test_the_signature_in_a_redirect_that_is_no_url_is_not_told() -> None:
    with FakeRegistry().serve() as registry:
        registry.answers["1"] = Answer(307, b"", {"Location": "http://elsewhere.example:99999/b?X-Amz-Signature=hunter2"})
        with pytest.raises(RegistryFailure) as raised:
            resolve(published(registry))
    assert "hunter2" not in str(raised.value)


def test_a_mirror_of_docker_hub_may_be_docker_hub() -> None:
    """Nobody answers at the name in a test, so the error is about that."""
    client = registry_client(mirrors=("https://docker.io",), proxies=Proxies(https="http://127.0.0.1:9"))
    with pytest.raises((RegistryFailure, NotFound), match="proxyconnect"):
        resolve(Reference.parse("docker.io/library/any:1"), client=client)


class TestInsecure:
    """A registry that is listed as insecure and speaks TLS all the same is not taken for one that does not."""

    @pytest.mark.parametrize("fault", [Fault.SILENT, Fault.SLOW_START], ids=lambda fault: fault.name)
    def test_when_a_connection_breaks(self, engine: Engine, fault: Fault) -> None:
        with FakeRegistry(tls=True).serve() as registry:
            reference = published(registry)
            registry.passing["1"] = [fault]
            with registry_client(insecure=INSECURE, stall_seconds=0.5).repository(reference) as repository:
                with pytest.raises(RegistryFailure) as raised:
                    repository.resolve(reference)
                assert f"https://{registry.host}" in str(raised.value)
                assert raised.value.retry_after == 0
                assert repository.resolve(reference).digest
            assert registry.asked() == ["HEAD 1"] * 2

    def test_when_it_redirects_to_one_that_does_not(self) -> None:
        with FakeRegistry(tls=True).serve() as registry, FakeRegistry().serve() as plain:
            reference = published(registry)
            registry.redirect_to = f"https://{plain.host}"
            registry.passing["1"] = [Fault.REDIRECTED]
            with registry_client(insecure=INSECURE).repository(reference) as repository:
                with pytest.raises(RegistryFailure, match=f"https://{plain.host}"):
                    repository.resolve(reference)
                assert repository.resolve(reference).digest


def test_a_pull_goes_on_after_a_tls_registry_was_silent(engine: Engine) -> None:
    with FakeRegistry(tls=True).serve() as registry:
        reference = published(registry)
        registry.passing["1"] = [Fault.SILENT]
        lines = list(pull_image(engine, reference))
    assert "Downloaded newer image" in lines[-1].status
