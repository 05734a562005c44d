"""The client against an index that answers well, badly, and from elsewhere."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stowage.services.errors import EngineError, InvalidParameter, RegistryFailure
from stowage.services.oci import gojson
from stowage.services.registry.client import RegistryClient
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.search import FoundRepository
from tests.engines import registry_client
from tests.fake_registry.index import FakeIndex, IndexFault
from tests.fake_registry.server import CERTIFICATE

INSECURE = ("127.0.0.0/8",)
ALICE = Credentials(username="alice", password="secret")
BASIC = "Basic YWxpY2U6c2VjcmV0"
RESULTS: list[dict[str, Any]] = [
    {"name": "team/app", "description": "An app", "star_count": 7, "is_official": False, "is_automated": True},
    {"name": "app", "description": None, "is_official": True, "pull_count": 9},
]


@pytest.fixture
def index() -> Iterator[FakeIndex]:
    with FakeIndex(results=RESULTS).serve() as running:
        yield running


@pytest.fixture
def hub(index: FakeIndex) -> RegistryClient:
    """A client whose index of docker.io is the fake one."""
    return registry_client(insecure=INSECURE, hub_index=index.base)


def search(index: FakeIndex, term: str = "app", **options: object) -> list[FoundRepository]:
    return registry_client(insecure=INSECURE).search(index.host, term, limit=25, **options)  # type: ignore[arg-type]


def sent(index: FakeIndex, name: str) -> list[str | None]:
    return [request.headers.get(name) for request in index.requests]


def test_repositories_are_found(index: FakeIndex) -> None:
    assert search(index) == [FoundRepository("team/app", "An app", 7, False), FoundRepository("app", "", 0, True)]


def test_an_insecure_registry_is_pinged_and_searched_in_plain_http(index: FakeIndex) -> None:
    search(index, "a b&c/d~")
    assert [(request.path, request.query) for request in index.requests] == [
        ("/v1/_ping", {}),
        ("/v1/search", {"q": ["a b&c/d~"], "n": ["25"]}),
    ]


def test_tls_is_tried_first() -> None:
    with FakeIndex(results=RESULTS, tls=True).serve() as index:
        assert len(search(index)) == 2


def test_the_certificates_of_a_registry_are_its_indexs_too(tmp_path: Path) -> None:
    with FakeIndex(results=RESULTS, tls=True).serve() as index:
        folder = tmp_path / index.host
        folder.mkdir()
        shutil.copy(CERTIFICATE, folder / "ca.crt")
        assert len(registry_client(certs=(tmp_path,)).search(index.host, "app", limit=25)) == 2


def test_the_index_of_docker_hub_is_searched_without_a_ping(index: FakeIndex, hub: RegistryClient) -> None:
    assert len(hub.search("", "app", limit=1)) == 1
    assert [request.path for request in index.requests] == ["/v1/search"]


@pytest.mark.parametrize("written", ["{}", "{}/", "{}/v1", "{}/v1/"])
def test_the_index_may_be_written_with_or_without_its_version(index: FakeIndex, written: str) -> None:
    client = registry_client(insecure=INSECURE, hub_index=written.format(index.base))
    assert len(client.search("", "app", limit=25)) == 2


def test_headers_go_along(index: FakeIndex) -> None:
    search(index, headers={"X-Meta-Build": "7"})
    assert sent(index, "X-Meta-Build") == ["7", "7"]
    assert sent(index, "User-Agent") == ["Stowage", "Stowage"]


@pytest.mark.parametrize(
    ("server_address", "authorization"),
    [
        pytest.param("", BASIC, id="for the registry of the term"),
        pytest.param("{host}", BASIC, id="by name"),
        pytest.param("http://{host}/v1/", BASIC, id="by URL"),
        pytest.param("registry.example", None, id="for another"),
        pytest.param("https://index.docker.io/v1/", None, id="for Docker Hub"),
    ],
)
def test_credentials_are_sent_only_where_they_are_meant_for(index: FakeIndex, server_address: str, authorization: str | None) -> None:
    search(index, credentials=replace(ALICE, server_address=server_address.format(host=index.host)))
    assert sent(index, "Authorization") == [None, authorization]


@pytest.mark.parametrize(
    ("server_address", "authorization"),
    [
        pytest.param("https://index.docker.io/v1/", None, id="Docker Hub's"),
        pytest.param("", None, id="nobody's in particular"),
        pytest.param("{host}", BASIC, id="its own"),
    ],
)
def test_an_index_in_place_of_docker_hubs_gets_only_its_own_credentials(
    index: FakeIndex, hub: RegistryClient, server_address: str, authorization: str | None
) -> None:
    hub.search("", "app", limit=25, credentials=replace(ALICE, server_address=server_address.format(host=index.host)))
    assert sent(index, "Authorization") == [authorization]


def test_credentials_do_not_go_over_plain_http_to_an_index_that_is_not_insecure(index: FakeIndex) -> None:
    client = registry_client(hub_index=index.base)
    client.search("", "app", limit=25, credentials=replace(ALICE, server_address=index.host))
    assert sent(index, "Authorization") == [None]


def test_nothing_goes_along_to_another_host(index: FakeIndex) -> None:
    with FakeIndex(results=RESULTS).serve() as other:
        index.fault, index.redirect_to = IndexFault.REDIRECTED, other.base
        assert len(search(index, credentials=ALICE, headers={"X-Meta-Build": "7"})) == 2
        assert {"Authorization", "X-Meta-Build", "X-Docker-Token"}.isdisjoint(other.requests[0].headers)


def test_a_password_that_an_index_redirects_with_is_not_told(index: FakeIndex) -> None:
    index.fault, index.redirect_to = IndexFault.REDIRECTED, "http://Hunter2-Secret.invalid"
    with pytest.raises(RegistryFailure) as raised:
        search(index, credentials=replace(ALICE, password="Hunter2-Secret"))
    assert "hunter2" not in str(raised.value).lower()


@pytest.mark.parametrize("fault", [IndexFault.NULL, IndexFault.EMPTY, IndexFault.NO_DOCUMENT])
def test_no_results_are_an_empty_list(index: FakeIndex, fault: IndexFault) -> None:
    index.fault = fault
    assert search(index) == []


@pytest.mark.parametrize("fault", [IndexFault.TWO_DOCUMENTS, IndexFault.SPACES])
def test_what_comes_behind_the_results_is_not_read(index: FakeIndex, fault: IndexFault) -> None:
    index.fault = fault
    assert len(search(index)) == 2


DECODING = "error decoding registry search results: "


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (IndexFault.BROKEN, "unexpected status code 500"),
        (IndexFault.UNAUTHORIZED, "unexpected status code 401"),
        (IndexFault.ABSENT, "unexpected status code 404"),
        (IndexFault.HTML, DECODING + "invalid character '<' looking for beginning of value"),
        (IndexFault.WRONG_TYPES, DECODING + "json: cannot unmarshal string into Go struct field SearchResult.star_count of type int64"),
        (IndexFault.TRUNCATED, DECODING + "unexpected EOF"),
        (IndexFault.DROPPED, DECODING + "unexpected EOF"),
        (IndexFault.NOTHING, DECODING + "EOF"),
        (IndexFault.OVERSIZED, DECODING + "more than 4194304 bytes"),
        (IndexFault.HANGS_UP, 'Get "{base}/v1/search": EOF'),
    ],
)
def test_an_answer_that_is_none_is_told(index: FakeIndex, fault: IndexFault, message: str) -> None:
    index.fault = fault
    with pytest.raises(RegistryFailure) as caught:
        search(index)
    assert str(caught.value) == message.format(base=index.base)


def test_a_registry_that_is_not_there_is_told_with_both_attempts() -> None:
    with FakeIndex().serve() as index:
        gone = index.host
    with pytest.raises(InvalidParameter) as caught:
        registry_client(insecure=INSECURE).search(gone, "app", limit=25)
    attempts = [rf'{scheme.upper()} attempt: Get "{scheme}://{gone}/v1/_ping": .*connection refused' for scheme in ("https", "http")]
    assert re.fullmatch(rf'invalid registry endpoint "http://{gone}/v1/"\. {attempts[0]}\. {attempts[1]}', str(caught.value))


def test_a_registry_that_is_not_insecure_is_never_asked_in_plain_http(index: FakeIndex) -> None:
    with pytest.raises(
        InvalidParameter, match=f"^invalid registry endpoint https://{index.host}/v1/: .* add `{index.host}` to STOWAGE_INSECURE"
    ):
        registry_client().search(index.host, "app", limit=25)
    assert index.requests == []


@pytest.mark.parametrize(
    "host", ["user@registry.example", "registry.example?x=1", "registry.example#", "a b.c", "host:port", ":5000", "[::1", "a..b"]
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(EngineError) as caught:
        registry_client().search(host, "app", limit=25)
    assert (type(caught.value), str(caught.value)) == (
        InvalidParameter,
        f"invalid registry endpoint https://{host}/v1/: invalid reference format",
    )


@pytest.mark.parametrize("result", ["{}", "[]", "0", '{"name":"a"}'])
def test_results_that_are_too_many_are_refused_before_they_are_decoded(
    index: FakeIndex, monkeypatch: pytest.MonkeyPatch, result: str
) -> None:
    monkeypatch.setattr(gojson, "_load", lambda *_, **__: pytest.fail("decoded"))
    index.fault, index.content = IndexFault.GIVEN, f'{{"results":[{",".join([result] * gojson.MAX_VALUES)}]}}'.encode()
    with pytest.raises(RegistryFailure, match=f"^{DECODING}a JSON document has more than {gojson.MAX_VALUES} values$"):
        search(index)


def test_results_beyond_the_limit_are_not_read(index: FakeIndex) -> None:
    index.fault, index.content = IndexFault.GIVEN, b'{"results":[{"name":"a"},{"name":"b"},{"name":1}]}'
    client = registry_client(insecure=INSECURE)
    assert [found.name for found in client.search(index.host, "app", limit=2)] == ["a", "b"]
