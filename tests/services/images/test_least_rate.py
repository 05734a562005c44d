"""Downloads that come, but too slowly: they use up attempts, go elsewhere, and end."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import RegistryFailure
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.oci.digest import Digest
from stowage.services.progress import Progress
from stowage.services.transfer.retry import Patience
from tests.builders import Layout, make_layer, put_image
from tests.engines import registry_client
from tests.fake_registry import FakeRegistry, Fault
from tests.fake_registry.slow import Slowness
from tests.fake_registry.uploads import UploadFault
from tests.services.images.pulls import offsets
from tests.services.images.pushes import push

SIZE = 4096
FASTER_THAN_A_DRIP = 1 << 20


def publish(*registries: FakeRegistry) -> tuple[str, str]:
    """An image with one plain layer: its name at the last of the registries, and the layer's digest."""
    layout = Layout()
    image = layout.image([make_layer("blob", SIZE)], compression="none")
    layer = max(layout.blobs, key=lambda digest: len(layout.blobs[digest]))
    names = [registry.publish(layout, image) for registry in registries]
    return names[-1], layer


def expecting(engine: Engine, least_rate: int, window: float = 0.1) -> Engine:
    return replace(engine, limits=replace(engine.limits, least_rate=least_rate, stall_seconds=window))


def pull(engine: Engine, name: str) -> list[Progress]:
    return list(pull_image(engine, pull_reference(name, "1")))


def test_a_registry_that_drips_is_given_up_and_what_came_is_kept(engine: Engine, registry: FakeRegistry) -> None:
    name, layer = publish(registry)
    registry.slow[layer] = Slowness.DRIP
    with pytest.raises(RegistryFailure, match="fewer than 1048576 bytes a second arrived for 0.1 seconds"):
        pull(expecting(engine, FASTER_THAN_A_DRIP), name)
    asked = offsets(registry, layer)
    assert len(asked) == engine.limits.download_attempts
    assert asked == sorted(set(asked))
    assert engine.content.partial_size(layer) > asked[-1]


def test_the_rest_is_asked_of_the_next_host(engine: Engine) -> None:
    with FakeRegistry().serve() as slow, FakeRegistry().serve() as whole:
        _, layer = publish(slow, whole)
        slow.slow[layer] = Slowness.DRIP
        client = registry_client(insecure=("127.0.0.0/8",), mirrors=(slow.base, whole.base))
        pull(replace(expecting(engine, FASTER_THAN_A_DRIP), registry=client), "team/app")
        assert offsets(slow, layer) == [0]
        [offset] = offsets(whole, layer)
    assert 0 < offset < SIZE


def test_a_slow_line_above_the_rate_goes_on(engine: Engine, registry: FakeRegistry) -> None:
    name, _ = publish(registry)
    config = next(digest for digest, content in registry.blobs.items() if content.startswith(b'{"architecture"'))
    registry.slow[config] = Slowness.DRIP
    pull(expecting(engine, 1, window=0.2), name)
    assert offsets(registry, config) == [0]
    with engine.metadata.read() as tx:
        assert tx.graph.present([Digest.parse(config)])


class SlowToAnswer(FakeRegistry):
    """Answers of one blob begin after a while."""

    slow_blob = ""

    def fault(self, reference: str) -> Fault | None:
        if reference == self.slow_blob:
            time.sleep(0.15)
        return super().fault(reference)


def test_bytes_after_slow_heads_use_up_attempts(engine: Engine) -> None:
    registry = SlowToAnswer()
    with registry.serve():
        name, layer = publish(registry)
        registry.slow_blob, registry.faults[layer] = layer, Fault.DROPPED
        with pytest.raises(RegistryFailure):
            pull(expecting(engine, FASTER_THAN_A_DRIP), name)
    asked = offsets(registry, layer)
    assert len(asked) == engine.limits.download_attempts
    assert asked == sorted(set(asked)), "each attempt brought bytes"


def test_a_slow_head_before_a_whole_body_uses_up_nothing(engine: Engine) -> None:
    registry = SlowToAnswer()
    with registry.serve():
        name, layer = publish(registry)
        registry.slow_blob = layer
        pull(expecting(engine, FASTER_THAN_A_DRIP), name)
    assert offsets(registry, layer) == [0]


def test_an_upload_that_advances_too_slowly_uses_up_attempts(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    put_image(engine, name := f"{registry.host}/team/app:1", layout, layout.image([make_layer("big", 4 << 20)], compression="none"))
    registry.blobs |= {digest: content for digest, content in layout.blobs.items() if len(content) < 4 << 20}
    registry.uploads.faults = [UploadFault.DROPPED, *[UploadFault.DROPPED_AGAIN] * 15]
    with pytest.raises(RegistryFailure):
        push(expecting(engine, least_rate=1 << 40, window=0.0001), name)
    assert [request.method for request in registry.requests].count("PATCH") == engine.limits.download_attempts - 1


class TestPatience:
    """Bytes are counted over a window, across tries."""

    def failure(self) -> RegistryFailure:
        failure = RegistryFailure("later")
        failure.retry_after = 0
        return failure

    def test_what_comes_fast_is_never_slow(self) -> None:
        patience = Patience(3, 0.0, least=1000, window=60)
        assert not any(patience.is_too_slow(1000, 59) for _ in range(100))

    def test_a_window_is_not_over_before_its_time(self) -> None:
        patience = Patience(3, 0.0, least=1000, window=60)
        assert [patience.is_too_slow(1, 20) for _ in range(6)] == [False, False, True] * 2

    def test_slow_tries_are_used_up_although_bytes_come(self) -> None:
        patience = Patience(3, 0.0, least=1000, window=60)
        for _ in range(2):
            patience.progressed()
            assert patience.is_too_slow(1, 60)
            patience.pause_after(self.failure())
        patience.progressed()
        with pytest.raises(RegistryFailure, match="later"):
            patience.pause_after(self.failure())

    def test_enough_in_a_window_begins_to_count_anew(self) -> None:
        patience = Patience(2, 0.0, least=1000, window=60)
        assert patience.is_too_slow(1, 60)
        patience.pause_after(self.failure())
        assert not patience.is_too_slow(1000, 1)
        patience.progressed()
        patience.pause_after(self.failure())

    def test_connections_that_bring_a_byte_and_break_are_slow_together(self) -> None:
        patience = Patience(5, 1.0, least=1000, window=60)

        def try_again(times: int) -> None:
            for _ in range(times):
                patience.is_too_slow(1, 0.0)
                patience.progressed()
                patience.pause_after(self.failure())

        try_again(60)  # with pauses of less than a second
        with pytest.raises(RegistryFailure, match="later"):
            try_again(10_000)

    @pytest.mark.parametrize("burst", [1, 1000])
    def test_a_burst_after_slow_heads_does_not_begin_to_count_anew(self, burst: int) -> None:
        patience = Patience(5, 0.0, least=1000, window=60)
        for came in (1, 1, 1, burst):
            patience.took(240)
            assert not patience.is_too_slow(came, 0.0), "the body is not slow"
            patience.progressed()
            patience.pause_after(self.failure())
        patience.took(240)
        with pytest.raises(RegistryFailure, match="later"):
            patience.pause_after(self.failure())

    def test_a_body_may_make_up_for_a_slow_head(self) -> None:
        patience = Patience(2, 0.0, least=1000, window=60)
        for _ in range(10):
            patience.took(240)
            assert not patience.is_too_slow(5000, 0.0)
            patience.progressed()
            patience.pause_after(self.failure())

    def test_pauses_that_the_registry_asks_for_count_too(self) -> None:
        patience, failure = Patience(5, 0.0, least=1000, window=60), self.failure()
        failure.retry_after = 100

        def try_again(times: int, came: int) -> None:
            for _ in range(times):
                assert not patience.is_too_slow(came, 0.0)
                patience.progressed()
                assert patience.pause_after(failure) == 100

        try_again(20, came=5000)
        with pytest.raises(RegistryFailure, match="later"):
            try_again(20, came=500)
