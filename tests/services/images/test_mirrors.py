"""Pulls past hosts that send what they should not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, InvalidContent, NotFound
from stowage.services.gc.verify import verify_store
from stowage.services.images.pull import pull_image, pull_reference
from tests.builders import Layout, make_layer
from tests.engines import registry_client
from tests.fake_registry import Answer, FakeRegistry, Fault

Hosts = list[FakeRegistry]


@pytest.fixture
def layout() -> Layout:
    layout = Layout()
    layout.tag(layout.image([make_layer("one", 2 << 20), make_layer("two")], compression="none"))
    return layout


@pytest.fixture
def hosts(layout: Layout) -> Iterator[Hosts]:
    """Two mirrors and a registry, all with the same image."""
    with ExitStack() as stack:
        found = [stack.enter_context(FakeRegistry().serve()) for _ in range(3)]
        for host in found:
            host.publish(layout, layout.manifests[0])
        yield found


@pytest.fixture
def mirrored(engine: Engine, tmp_path: Path, hosts: Hosts) -> Engine:
    """An engine to which `registry.invalid` is these hosts, in their order."""
    folder = tmp_path / "certs.d/registry.invalid"
    folder.mkdir(parents=True)
    *mirrors, server = hosts
    (folder / "hosts.toml").write_text(f'server = "{server.base}"\n' + "".join(f'[host."{mirror.base}"]\n' for mirror in mirrors))
    return replace(engine, registry=registry_client(insecure=("127.0.0.0/8",), certs=(tmp_path / "certs.d",)))


def pull(engine: Engine) -> None:
    list(pull_image(engine, pull_reference("registry.invalid/team/app", "1")))


def asked(hosts: Hosts, digest: str) -> list[list[str]]:
    """The ranges of each host's requests for a digest, "" for all of it."""
    return [
        [request.headers.get("Range", "") for request in host.requests if request.method == "GET" and request.path.endswith(digest)]
        for host in hosts
    ]


wrong = pytest.mark.parametrize("fault", [Fault.WRONG_BYTES, Fault.SHORT_BODY, Fault.LONG_BODY], ids=lambda fault: fault.name)


@wrong
@pytest.mark.parametrize("number", [0, 1, 3], ids=["large layer", "small layer", "manifest"])
def test_what_a_mirror_sent_wrong_is_asked_of_the_next(
    mirrored: Engine, layout: Layout, hosts: Hosts, fault: Fault, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    digest = list(layout.blobs)[number]
    hosts[0].faults[digest] = fault
    pull(mirrored)
    assert asked(hosts, digest) == [[""], [""], []]
    assert list(verify_store(mirrored.metadata, mirrored.content)) == []
    kind = "manifests" if number == 3 else "blobs"
    assert [record.getMessage() for record in caplog.records] == [f"{hosts[0].host} sent wrong bytes for {kind}/{digest}"]


@wrong
def test_each_host_is_asked_once_before_the_pull_fails(mirrored: Engine, layout: Layout, hosts: Hosts, fault: Fault) -> None:
    layer = next(iter(layout.blobs))
    for host in hosts:
        host.faults[layer] = fault
    with pytest.raises(InvalidContent, match="unexpected commit"):
        pull(mirrored)
    assert asked(hosts, layer) == [[""], [""], [""]]
    assert [*mirrored.content.blobs(), *mirrored.content.partials()] == []


def test_a_mirror_is_not_blamed_for_what_an_earlier_pull_left(
    mirrored: Engine, layout: Layout, hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    layer = next(iter(layout.blobs))
    with mirrored.content.ingest(layer) as ingest:
        ingest.write(bytes(7))
        ingest.keep()
    pull(mirrored)
    assert asked(hosts, layer) == [["bytes=7-", ""], [], []]
    assert caplog.records == []


def test_what_a_mirror_began_wrong_and_the_next_finished_is_asked_of_the_next_from_its_beginning(
    mirrored: Engine, layout: Layout, hosts: Hosts
) -> None:
    layer = next(iter(layout.blobs))
    hosts[0].blobs = layout.blobs | {layer: bytes(len(layout.blobs[layer]))}
    hosts[0].faults[layer] = Fault.DROPPED
    pull(mirrored)
    [first], [rest, whole], [] = asked(hosts, layer)
    assert (first, whole) == ("", "")
    assert rest.startswith("bytes=")


def test_what_the_registry_began_and_a_mirror_finished_wrong_is_asked_of_the_registry(
    mirrored: Engine, layout: Layout, hosts: Hosts
) -> None:
    layer = next(iter(layout.blobs))
    hosts[0].passing[layer] = [Fault.BUSY]
    hosts[0].faults[layer] = Fault.WRONG_BYTES
    hosts[1].faults[layer] = Fault.BUSY
    hosts[2].passing[layer] = [Fault.DROPPED]
    pull(mirrored)
    assert asked(hosts, layer)[2] == ["", ""]


def test_a_host_that_only_told_what_a_digest_names_is_not_blamed(mirrored: Engine, layout: Layout, hosts: Hosts) -> None:
    manifest = layout.manifests[0]["digest"]
    hosts[0].passing[manifest] = [Fault.BUSY, Fault.WRONG_BYTES]
    hosts[1].faults[manifest] = Fault.BUSY
    list(pull_image(mirrored, pull_reference("registry.invalid/team/app", manifest)))
    assert hosts[2].asked() == [f"HEAD {manifest}", f"GET {manifest}"]


class TestRanges:
    """A blob of which a part is here already, or came before the connection broke."""

    PART = 100_000
    ABSENT = Answer(404)

    @pytest.fixture
    def layer(self, layout: Layout) -> str:
        return next(iter(layout.blobs))

    @pytest.fixture
    def part(self, mirrored: Engine, layout: Layout, layer: str) -> str:
        """What is asked for behind the part of the layer that is here."""
        with mirrored.content.ingest(layer) as ingest:
            ingest.write(layout.blobs[layer][: self.PART])
            ingest.keep()
        return f"bytes={self.PART}-"

    @pytest.mark.parametrize("fault", [Fault.NOT_THAT_FAR, Fault.MALFORMED_RANGE, Fault.UNKNOWN_RANGE], ids=lambda fault: fault.name)
    def test_of_a_mirror_that_refuses_them_are_asked_of_the_next(
        self, mirrored: Engine, hosts: Hosts, layer: str, part: str, fault: Fault
    ) -> None:
        hosts[0].faults[layer] = fault
        pull(mirrored)
        assert asked(hosts, layer) == [[part], [part], []]

    @pytest.mark.parametrize("fault", [Fault.NOT_THAT_FAR, Fault.MALFORMED_RANGE, Fault.UNKNOWN_RANGE], ids=lambda fault: fault.name)
    @pytest.mark.parametrize("answer", [Answer(404), Answer(403), Answer(503)], ids=lambda answer: str(answer.status))
    def test_a_mirror_without_them_sends_the_blob_from_its_beginning_where_no_other_has_it(
        self, mirrored: Engine, hosts: Hosts, layer: str, part: str, fault: Fault, answer: Answer
    ) -> None:
        hosts[0].faults[layer] = fault
        for host in hosts[1:]:
            host.answers[layer] = answer
        pull(mirrored)
        assert asked(hosts, layer) == [[part, ""], [part], [part]]

    def test_a_mirror_without_them_that_broke_off_begins_again_where_no_other_has_it(
        self, mirrored: Engine, hosts: Hosts, layer: str
    ) -> None:
        hosts[0].passing[layer] = [Fault.DROPPED]
        hosts[0].faults[layer] = Fault.UNKNOWN_RANGE
        for host in hosts[1:]:
            host.answers[layer] = self.ABSENT
        pull(mirrored)
        [first, refused, again], *others = asked(hosts, layer)
        assert (first, again, others) == ("", "", [[refused, ""], [refused, ""]])

    def test_a_mirror_that_broke_off_goes_on_where_no_other_has_the_blob(self, mirrored: Engine, hosts: Hosts, layer: str) -> None:
        hosts[0].passing[layer] = [Fault.DROPPED]
        for host in hosts[1:]:
            host.answers[layer] = self.ABSENT
        pull(mirrored)
        [first, rest], *others = asked(hosts, layer)
        assert (first, others) == ("", [[rest], [rest]])

    def test_the_registrys_word_counts_where_nobody_has_the_rest(self, mirrored: Engine, hosts: Hosts, layer: str) -> None:
        hosts[0].passing[layer] = [Fault.DROPPED]
        hosts[0].faults[layer] = Fault.ABSENT
        hosts[1].answers[layer] = self.ABSENT
        hosts[2].faults[layer] = Fault.FORBIDDEN
        with pytest.raises(Forbidden, match="^error from registry: requested access to the resource is denied$"):
            pull(mirrored)

    def test_a_blob_that_no_host_has_is_not_found(self, mirrored: Engine, hosts: Hosts, layer: str, part: str) -> None:
        for host in hosts:
            host.answers[layer] = self.ABSENT
        with pytest.raises(NotFound, match=f"could not fetch content descriptor {layer} "):
            pull(mirrored)
        assert asked(hosts, layer) == [[part]] * 3
