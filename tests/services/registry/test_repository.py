"""Lists of tags, in pages."""

from __future__ import annotations

import json
from contextlib import ExitStack
from itertools import accumulate

import pytest

from stowage.services.errors import EngineError, NotAllowed, NotFound, RegistryFailure, Unauthorized
from tests.builders import Layout
from tests.fake_registry import Answer, FakeRegistry, Fault
from tests.services.registry.clients import JSON, errors, opened


@pytest.mark.parametrize("page", [pytest.param(0, id="one page"), pytest.param(2, id="several pages")])
def test_tags_come_in_the_registrys_order(registry: FakeRegistry, layout: Layout, page: int) -> None:
    registry.tags_per_page = page
    for tag in ("3", "1", "2", "latest", "0"):
        registry.publish(layout, layout.manifests[0], tag=tag)
    with ExitStack() as stack:
        assert opened(registry, stack)[0].tags() == ["3", "1", "2", "latest", "0"]


def test_what_is_no_tag_is_left_out(registry: FakeRegistry) -> None:
    names = ["1", "-no", "", "a" * 128, "a" * 129, "\U0001f600", "\u0661", "a\n", "2"]
    registry.answers = {"list": Answer(200, json.dumps({"tags": names}).encode(), JSON)}
    with ExitStack() as stack:
        assert opened(registry, stack)[0].tags() == ["1", "a" * 128, "2"]


NO_ACCESS = "pull access denied for {name}, repository does not exist or may require 'docker login'"


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        pytest.param(None, NotFound, "repository {name} not found: name unknown: repository name not known to registry", id="no such name"),
        pytest.param(Answer(404, errors("NAME_UNKNOWN"), JSON), NotFound, "name unknown", id="no such name, bare"),
        pytest.param(Answer(403, errors("DENIED", message="no"), JSON), NotFound, NO_ACCESS + ": denied: no", id="denied"),
        pytest.param(Answer(403, b"no"), NotFound, NO_ACCESS + ": denied: no", id="denied with a text"),
        pytest.param(Answer(401, errors("UNAUTHORIZED", message="who"), JSON), Unauthorized, "unauthorized: who", id="unauthorized"),
        pytest.param(Answer(405, errors("UNSUPPORTED"), JSON), NotAllowed, "unsupported", id="unsupported"),
        pytest.param(Answer(500), RegistryFailure, "received unexpected HTTP status: 500 Internal Server Error", id="500"),
        pytest.param(Answer(404, b"<html>"), RegistryFailure, "unknown: <html>", id="404 with a page"),
    ],
)
def test_a_refused_list_of_tags_is_told_in_dockers_words(
    registry: FakeRegistry, answer: Answer | None, kind: type[EngineError], words: str
) -> None:
    registry.answers = {"list": answer} if answer else {}
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(EngineError) as raised:
            repository.tags()
    assert (type(raised.value), str(raised.value)) == (kind, words.format(name=f"{registry.host}/team/app"))


@pytest.mark.parametrize("status", [429, 503])
def test_a_list_of_tags_may_be_asked_for_again_later(registry: FakeRegistry, status: int) -> None:
    registry.answers = {"list": Answer(status, headers={"Retry-After": "7"})}
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(EngineError) as raised:
            repository.tags()
    assert raised.value.retry_after == 7


def test_an_endless_list_of_tags_is_given_up(registry: FakeRegistry, layout: Layout) -> None:
    for number in range(1002):
        registry.publish(layout, layout.manifests[0], tag=f"t{number}")
    registry.tags_per_page = 1
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(RegistryFailure, match="more than 1000 pages"):
            repository.tags()


def test_a_next_page_that_is_no_url_is_an_error(registry: FakeRegistry, layout: Layout) -> None:
    for tag in ("1", "2"):
        registry.publish(layout, layout.manifests[0], tag=tag)
    registry.tags_per_page, registry.faults["list"] = 1, Fault.MALFORMED_LINK
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(RegistryFailure, match="the registry's link to the next page of tags is not a URL"):
            repository.tags()


@pytest.mark.parametrize(
    ("page", "tags"),
    [
        pytest.param(b'{"tags": null}', [], id="null"),
        pytest.param(b"{}", [], id="nothing"),
        pytest.param(b'{"TAGS": ["a"]}', ["a"], id="in capitals"),
    ],
)
def test_a_page_of_tags_is_read_as_go_reads_it(registry: FakeRegistry, page: bytes, tags: list[str]) -> None:
    registry.answers = {"list": Answer(200, page, JSON)}
    with ExitStack() as stack:
        assert opened(registry, stack)[0].tags() == tags


@pytest.mark.parametrize("page", [b"", b"[]", b'{"tags": 0}', b'{"tags": {}}', b'{"tags": [1]}', b'{"tags": []} and more'])
def test_what_is_no_page_of_tags_is_refused(registry: FakeRegistry, page: bytes) -> None:
    registry.answers = {"list": Answer(200, page, JSON)}
    with ExitStack() as stack, pytest.raises(RegistryFailure, match="the registry's list of tags is not readable"):
        opened(registry, stack)[0].tags()


def test_the_next_page_of_tags_may_be_told_without_brackets(registry: FakeRegistry) -> None:
    registry.answers = {"list": Answer(200, b'{"tags": ["a"]}', JSON | {"Link": "/v2/team/app/tags/list?last=a; rel=next"})}
    with ExitStack() as stack, pytest.raises(RegistryFailure, match="more than 1000 pages"):
        opened(registry, stack)[0].tags()
    assert registry.requests[1].query == {"last": ["a"]}


@pytest.mark.parametrize(
    ("limit", "most", "words"), [("_MAX_BYTES", 200, "is larger than 200 bytes"), ("MAX_VALUES", 9, "has more than 9 tags")]
)
def test_pages_of_tags_are_bounded_together(
    registry: FakeRegistry, layout: Layout, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, words: str
) -> None:
    for number in range(10):
        registry.publish(layout, layout.manifests[0], tag=f"t{number}")
    registry.tags_per_page = 1
    monkeypatch.setattr(f"stowage.services.registry.repository.{limit}", most)
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(RegistryFailure, match=f"^the list of tags of .* {words}$"):
            repository.tags()


def test_a_registry_may_send_a_hundred_thousand_tags_as_one_page(registry: FakeRegistry) -> None:
    tags = [f"sha-{number:040x}" for number in range(100_000)]
    registry.answers = {"list": Answer(200, json.dumps({"tags": tags}).encode(), JSON)}
    with ExitStack() as stack:
        assert opened(registry, stack)[0].tags() == tags


def test_names_that_are_no_tags_are_counted(registry: FakeRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.answers = {"list": Answer(200, json.dumps({"tags": ["-"] * 5}).encode(), JSON | {"Link": "</v2/team/app/tags/list?last=a>"})}
    monkeypatch.setattr("stowage.services.registry.repository.MAX_VALUES", 9)
    with ExitStack() as stack:
        repository, _ = opened(registry, stack)
        with pytest.raises(RegistryFailure, match="has more than 9 tags"):
            repository.tags()


def test_what_is_read_and_kept_of_a_list_is_counted(registry: FakeRegistry) -> None:
    body = json.dumps({"tags": ["1", "-" * 5000, "2" * 100]}).encode()
    registry.answers = {"list": Answer(200, body, JSON)}
    counted: list[int] = []
    with ExitStack() as stack:
        opened(registry, stack)[0].tags(counted.append)
    assert max(accumulate(counted)) >= 5 * len(body)
    assert 100 < sum(counted) < 500
