"""Pulls over connections that break, stall and answer later, into a real engine."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import EngineError, InvalidContent, NotFound, RegistryFailure
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.oci import mediatypes
from stowage.services.oci.digest import Digest
from stowage.services.progress import Detail, Progress
from stowage.services.registry.credentials import Credentials
from stowage.services.transfer.retry import Patience
from tests.builders import Layout, make_config, make_layer
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry, Fault
from tests.services.images.pulls import offsets

SIZE = 4 << 20
LOOPBACK = ("127.0.0.0/8",)


def publish(registry: FakeRegistry, size: int = SIZE) -> tuple[str, str, Layout]:
    """An image with one plain layer: its name, the layer's digest, its layout."""
    layout = Layout()
    image = layout.image([make_layer("blob", size)], compression="none")
    layer = next(digest for digest, content in layout.blobs.items() if len(content) > size)
    return registry.publish(layout, image), layer, layout


def manifest_of(layout: Layout) -> str:
    return next(digest for digest, content in layout.blobs.items() if content.startswith(b'{"schemaVersion"'))


def pull(engine: Engine, name: str, **options: Any) -> list[Progress]:
    return list(pull_image(engine, pull_reference(name, "1"), **options))


def is_present(engine: Engine, digest: str) -> bool:
    with engine.metadata.read() as tx:
        return bool(tx.graph.present([Digest.parse(digest)]))


@pytest.mark.parametrize("fault", [Fault.DROPPED, Fault.RESET, Fault.UNFRAMED], ids=lambda fault: fault.name)
def test_a_broken_transfer_goes_on_in_the_same_pull(engine: Engine, registry: FakeRegistry, fault: Fault) -> None:
    name, layer, layout = publish(registry)
    registry.passing[layer] = [fault]
    pull(engine, name)
    assert is_present(engine, layer)
    first, second = offsets(registry, layer)
    least = 0 if fault is Fault.RESET else len(layout.blobs[layer]) // 2 - (1 << 20)  # a reset throws away what is on the way
    assert first == 0
    assert least <= second <= len(layout.blobs[layer]) // 2


@pytest.mark.parametrize(
    "fault",
    [Fault.BUSY, Fault.BROKEN, Fault.COME_BACK, Fault.SILENT, Fault.TOO_MANY_REQUESTS],
    ids=lambda fault: fault.name,
)
@pytest.mark.parametrize("what", ["tag", "manifest", "layer"])
def test_an_answer_that_may_be_another_is_asked_for_again(engine: Engine, registry: FakeRegistry, fault: Fault, what: str) -> None:
    name, layer, layout = publish(registry)
    registry.passing[{"tag": "1", "manifest": manifest_of(layout), "layer": layer}[what]] = [fault]
    pull(engine, name)
    assert is_present(engine, layer)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize("what", ["manifest", "layer"])
def test_an_insecure_registry_that_spoke_tls_is_not_asked_again_without(engine: Engine, what: str) -> None:
    with FakeRegistry(tls=True).serve() as registry:
        name, layer, layout = publish(registry)
        registry.passing[manifest_of(layout) if what == "manifest" else layer] = [Fault.SILENT]
        pull(engine, name)
        assert is_present(engine, layer)


def test_a_transfer_is_tried_as_long_as_it_advances(engine: Engine, registry: FakeRegistry) -> None:
    name, layer, _ = publish(registry)
    registry.passing[layer] = [Fault.DROPPED] * 12
    pull(engine, name)
    asked = offsets(registry, layer)
    assert len(asked) == 13
    assert asked == sorted(set(asked))


def test_a_transfer_that_does_not_advance_is_given_up_and_kept(engine: Engine, registry: FakeRegistry) -> None:
    name, layer, layout = publish(registry)
    registry.passing[layer] = [Fault.DROPPED, *[Fault.SILENT] * 4]
    with pytest.raises(RegistryFailure, match="failed to do request: Get .*: EOF"):
        pull(engine, name)
    assert len(offsets(registry, layer)) == 5
    [(size, held)] = [(size, held) for key, size, held in engine.content.partials() if key == layer]
    assert not held
    assert 0 < size <= len(layout.blobs[layer]) // 2
    registry.requests.clear()
    pull(engine, name)
    assert offsets(registry, layer) == [size]


@pytest.mark.parametrize(
    ("fault", "requests"),
    [
        pytest.param(Fault.NO_RANGES, 2, id="ignored"),
        pytest.param(Fault.NOT_THAT_FAR, 3, id="416"),
        pytest.param(Fault.MALFORMED_RANGE, 3, id="400"),
        pytest.param(Fault.UNKNOWN_RANGE, 3, id="501"),
        pytest.param(Fault.UNSTATED_RANGE, 3, id="206 of an unstated range"),
        pytest.param(Fault.OTHER_RANGE, 3, id="206 of another range"),
        pytest.param(Fault.ENDLESS_RANGE, 3, id="206 of a range that is no number"),
    ],
)
def test_a_registry_without_ranges_sends_that_blob_again(engine: Engine, registry: FakeRegistry, fault: Fault, requests: int) -> None:
    name, layer, _ = publish(registry)
    registry.passing[layer] = [Fault.DROPPED]
    registry.faults[layer] = fault
    pull(engine, name)
    assert is_present(engine, layer)
    assert len(offsets(registry, layer)) == requests


def test_a_next_pull_without_ranges_begins_anew(engine: Engine, registry: FakeRegistry) -> None:
    name, layer, _ = publish(registry)
    registry.passing[layer] = [Fault.DROPPED, Fault.FORBIDDEN]
    with pytest.raises(EngineError, match="denied"):
        pull(engine, name)
    registry.faults[layer] = Fault.NO_RANGES
    pull(engine, name)
    assert is_present(engine, layer)


@pytest.mark.parametrize(
    ("fault", "kind", "asked"),
    [
        pytest.param(Fault.FORBIDDEN, EngineError, 1, id="denied"),
        pytest.param(Fault.UNAUTHORIZED, EngineError, 1, id="unauthorized"),
        pytest.param(Fault.ABSENT, NotFound, 1, id="absent"),
        pytest.param(Fault.COME_BACK_TOMORROW, RegistryFailure, 1, id="not today"),
        pytest.param(Fault.WRONG_BYTES, InvalidContent, 1, id="other bytes"),
        pytest.param(Fault.SHORT_BODY, InvalidContent, 1, id="a length that lies"),
        pytest.param(Fault.BUSY, RegistryFailure, 5, id="busy for ever"),
        pytest.param(Fault.ENDLESS_REDIRECT, RegistryFailure, 11, id="redirect loop"),
    ],
)
def test_what_another_try_would_not_change_is_not_tried(
    engine: Engine, registry: FakeRegistry, fault: Fault, kind: type[EngineError], asked: int
) -> None:
    name, layer, _ = publish(registry)
    registry.faults[layer] = fault
    with pytest.raises(kind):
        pull(engine, name)
    assert len(offsets(registry, layer)) == asked
    assert layer not in [key for key, _, _ in engine.content.partials()]


def test_a_corrupt_download_does_not_spoil_the_next_one(engine: Engine, registry: FakeRegistry) -> None:
    name, layer, _ = publish(registry)
    registry.passing[layer] = [Fault.DROPPED, Fault.WRONG_BYTES]
    with pytest.raises(InvalidContent, match="unexpected commit digest"):
        pull(engine, name)
    pull(engine, name)
    assert is_present(engine, layer)
    assert offsets(registry, layer)[-1] == 0


class TestWrongPartial:
    """What an earlier pull left and is wrong costs the next one a second fetch, from the beginning."""

    def poison(self, engine: Engine, layer: str, size: int) -> None:
        with engine.content.ingest(layer) as ingest:
            ingest.write(bytes(size))
            ingest.keep()

    def test_of_another_registry_is_fetched_anew(self, engine: Engine, registry: FakeRegistry) -> None:
        name, layer, layout = publish(registry)
        with FakeRegistry().serve() as liar:
            liar.manifests = registry.manifests
            liar.blobs = layout.blobs | {layer: bytes(len(layout.blobs[layer]))}
            liar.passing[layer] = [Fault.DROPPED, Fault.FORBIDDEN]
            with pytest.raises(EngineError, match="denied"):
                pull(engine, f"{liar.host}/team/app")
        pull(engine, name)
        assert is_present(engine, layer)
        resumed, anew = offsets(registry, layer)
        assert resumed > anew == 0

    def test_that_is_as_long_as_the_blob_is_fetched_anew(self, engine: Engine, registry: FakeRegistry) -> None:
        name, layer, layout = publish(registry)
        self.poison(engine, layer, len(layout.blobs[layer]))
        pull(engine, name)
        assert is_present(engine, layer)
        assert offsets(registry, layer) == [0]

    def test_is_not_fetched_a_third_time(self, engine: Engine, registry: FakeRegistry) -> None:
        name, layer, _ = publish(registry)
        self.poison(engine, layer, 7)
        registry.faults[layer] = Fault.WRONG_BYTES
        with pytest.raises(InvalidContent, match="unexpected commit digest"):
            pull(engine, name)
        assert offsets(registry, layer) == [7, 0]
        assert layer not in [key for key, _, _ in engine.content.partials()]


def test_a_stalled_transfer_is_given_up_and_goes_on(engine: Engine, registry: FakeRegistry) -> None:
    impatient = replace(engine, registry=registry_client(insecure=LOOPBACK, stall_seconds=0.2))
    name, layer, layout = publish(registry)
    registry.passing[layer] = [Fault.STALLED]
    pull(impatient, name)
    assert offsets(registry, layer) == [0, len(layout.blobs[layer]) // 2]


def test_a_pause_is_told_as_docker_does(engine: Engine, registry: FakeRegistry) -> None:
    patient = replace(engine, limits=replace(engine.limits, retry_seconds=0.4))
    name, layer, _ = publish(registry)
    registry.passing[layer] = [Fault.DROPPED]
    lines = pull(patient, name)
    assert Progress("Retrying in 1 second", layer[7:19], Detail()) in lines


def test_closing_leaves_a_pause_at_once(engine: Engine, registry: FakeRegistry) -> None:
    patient = replace(engine, limits=replace(engine.limits, retry_seconds=60.0))
    name, layer, _ = publish(registry)
    registry.passing[layer] = [Fault.DROPPED]
    lines = pull_image(patient, pull_reference(name, "1"))
    assert any(line.status.startswith("Retrying in") for line in lines)
    begun = time.monotonic()
    lines.close()
    assert time.monotonic() - begun < 5
    assert (layer, False) in [(key, held) for key, _, held in engine.content.partials()]


@pytest.mark.parametrize("what", ["tag", "layer"])
def test_closing_leaves_a_silent_registry_at_once(engine: Engine, registry: FakeRegistry, what: str) -> None:
    name, layer, _ = publish(registry)
    registry.faults["1" if what == "tag" else layer] = Fault.SLOW_START
    lines = pull_image(engine, pull_reference(name, "1"))
    while not registry.stalled.is_set():
        next(lines)
    begun = time.monotonic()
    lines.close()
    assert time.monotonic() - begun < 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pull")]
    assert not [key for key, _, held in engine.content.partials() if held]


def test_whoever_waits_for_another_pull_sees_its_progress(engine: Engine, registry: FakeRegistry) -> None:
    name, layer, layout = publish(registry)
    registry.faults[layer] = Fault.WAITING
    first = threading.Thread(target=pull, args=(engine, name))
    first.start()
    registry.stalled.wait(10)
    second = pull_image(engine, pull_reference(name, "1"))
    shown = next(line for line in second if line.status == "Downloading")
    registry.resume.set()
    size = len(layout.blobs[layer])
    assert shown.detail is not None
    assert shown.detail.total == size
    assert 0 < shown.detail.current <= size // 2
    assert [line.status for line in second][-1].startswith("Status: ")
    first.join(30)
    assert offsets(registry, layer) == [0]


class TestMirrors:
    """A mirror that does not finish a blob is left for the next endpoint."""

    @pytest.mark.parametrize("fault", [Fault.DROPPED, Fault.RESET, Fault.STALLED], ids=lambda fault: fault.name)
    def test_a_blob_goes_on_elsewhere(self, engine: Engine, fault: Fault) -> None:
        with FakeRegistry().serve() as broken, FakeRegistry().serve() as whole:
            layout = Layout()
            image = layout.image([make_layer("blob", SIZE)], compression="none")
            layer = next(digest for digest, content in layout.blobs.items() if len(content) > SIZE)
            for mirror in (broken, whole):
                mirror.publish(layout, image)
            broken.faults[layer] = fault
            registry = registry_client(insecure=LOOPBACK, mirrors=(broken.base, whole.base), stall_seconds=0.3)
            pull(replace(engine, registry=registry), "team/app")
            assert offsets(broken, layer) == [0]
            [offset] = offsets(whole, layer)
            assert 0 <= offset <= len(layout.blobs[layer]) // 2


class TestPatience:
    """Pauses grow, and end."""

    def failure(self, retry_after: float | None = 0) -> RegistryFailure:
        failure = RegistryFailure("later")
        failure.retry_after = retry_after
        return failure

    def test_pauses_double_with_jitter(self) -> None:
        patience = Patience(9, 1.0)
        pauses = [patience.pause_after(self.failure()) for _ in range(8)]
        for pause, most in zip(pauses, [1, 2, 4, 8, 16, 30, 30, 30], strict=True):
            assert most / 2 <= pause <= most

    def test_a_registry_may_ask_for_longer(self) -> None:
        assert Patience(2, 1.0).pause_after(self.failure(retry_after=42)) == 42

    @pytest.mark.parametrize("retry_after", [pytest.param(None, id="no use"), pytest.param(121, id="too long")])
    def test_no_pause_helps(self, retry_after: float | None) -> None:
        with pytest.raises(RegistryFailure, match="later"):
            Patience(9, 1.0).pause_after(self.failure(retry_after))


@pytest.mark.parametrize("allowed", [pytest.param(True, id="allowed"), pytest.param(False, id="not allowed")])
def test_a_foreign_layer_comes_from_an_allowed_host_without_credentials(engine: Engine, allowed: bool) -> None:
    with FakeRegistry(auth="basic", user="user:p4ss").serve() as registry, FakeRegistry().serve() as elsewhere:
        layout = Layout()
        content = make_layer("base")
        url = f"{elsewhere.base}/v2/x/blobs/{Digest.of(content)}"
        foreign = layout.add(content, "application/vnd.docker.image.rootfs.foreign.diff.tar", urls=[url])
        config = layout.add_json(make_config([foreign["digest"]]), mediatypes.DOCKER_CONFIG)
        name = registry.publish(layout, layout.manifest(config, [foreign], media_type=mediatypes.DOCKER_MANIFEST))
        elsewhere.blobs[foreign["digest"]] = registry.blobs.pop(foreign["digest"])
        client = registry_client(insecure=LOOPBACK, foreign_hosts=(elsewhere.host,) if allowed else ())
        login = Credentials(username="user", password="p4ss")
        pull(replace(engine, registry=client), name, credentials=login, headers={"X-Meta-Team": "blue"})
        assert is_present(engine, foreign["digest"]) is allowed
        assert len(elsewhere.requests) == allowed
        assert not any({"Authorization", "X-Meta-Team"} & request.headers.keys() for request in elsewhere.requests)
