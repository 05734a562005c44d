"""What a pull and a push count."""

from __future__ import annotations

from dataclasses import replace

from stowage.services.engine import Engine
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.images.push import push_image
from stowage.services.meter import Tally
from tests.builders import Layout, make_layer
from tests.fake_registry import FakeRegistry, Fault

SIZE = 4 << 20


def two_tags(registry: FakeRegistry) -> tuple[str, str]:
    """A repository with two images on one layer, and the layer's digest."""
    layout = Layout()
    first, second = (layout.image([make_layer("blob", SIZE)], compression="none", labels={"tag": tag}) for tag in "12")
    registry.publish(layout, first, tag="1")
    name = registry.publish(layout, second, tag="2")
    return name, next(digest for digest, content in layout.blobs.items() if len(content) > SIZE)


def pull(engine: Engine, name: str, tag: str) -> Tally:
    tally = Tally()
    list(pull_image(replace(engine, tally=tally), pull_reference(name, tag)))
    return tally


def test_a_pull_counts_blobs_and_their_bytes(engine: Engine, registry: FakeRegistry) -> None:
    name, layer = two_tags(registry)
    first, second = pull(engine, name, "1"), pull(engine, name, "2")
    assert (first.reused, first.fetched, first.retries, first.resumes) == (0, 2, 0, 0)
    assert first.bytes > len(registry.blobs[layer])
    assert (second.reused, second.fetched) == (1, 1)
    assert 0 < second.bytes < SIZE


def test_a_broken_pull_counts_its_tries_and_what_it_continued(engine: Engine, registry: FakeRegistry) -> None:
    name, layer = two_tags(registry)
    registry.passing[layer] = [Fault.DROPPED]
    tally = pull(engine, name, "1")
    assert (tally.retries, tally.resumes) == (1, 1)
    assert SIZE < tally.bytes < SIZE + (2 << 20)


def test_a_push_counts_what_it_sent(engine: Engine, registry: FakeRegistry) -> None:
    name, layer = two_tags(registry)
    pull(engine, name, "1")
    registry.blobs.clear()
    tally = Tally()
    list(push_image(replace(engine, tally=tally), pull_reference(name, "1")))
    assert len(registry.blobs[layer]) < tally.bytes < SIZE + (1 << 20)
    again = Tally()
    list(push_image(replace(engine, tally=again), pull_reference(name, "1")))
    assert again.bytes == 0
