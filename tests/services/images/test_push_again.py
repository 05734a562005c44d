"""Pushes of what the registry has already, or had once."""

from __future__ import annotations

from dataclasses import replace

from stowage.services.engine import Engine
from stowage.services.images.push import push_image
from stowage.services.oci.reference import Reference
from tests.builders import Layout, make_layer, put_image, simple_layout
from tests.fake_registry import FakeRegistry, Fault
from tests.services.images.pushes import push, served


def test_a_repeated_push_asks_for_everything_once(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    name = f"{registry.host}/team/app:1"
    target = put_image(engine, name, layout, layout.multi_platform())
    push(engine, name)
    registry.requests.clear()
    push(engine, name)
    assert sorted(registry.asked()) == sorted(["HEAD 1", *(f"HEAD {digest}" for digest in layout.blobs.keys() - {str(target)})])


def test_all_blobs_are_asked_for_at_once(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    name = f"{registry.host}/team/app:1"
    image = layout.image([make_layer(f"layer{number}") for number in range(7)])
    put_image(engine, name, layout, image)
    push(engine, name)
    blobs = set(registry.blobs)
    registry.faults = dict.fromkeys(blobs, Fault.SLOW_START)
    registry.requests.clear()
    few = replace(engine, limits=replace(engine.limits, concurrent_uploads=2))
    for line in push_image(few, Reference.parse(name)):
        if {f"HEAD {digest}" for digest in blobs} <= set(registry.asked()):
            registry.resume.set()
        assert line.status != "Layer already exists" or registry.resume.is_set()


def test_what_the_registry_has_lost_is_sent_again_although_it_has_the_manifest(engine: Engine, registry: FakeRegistry) -> None:
    layout = simple_layout()
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout)
    push(engine, name)
    for digest in list(registry.blobs):
        del registry.blobs[digest]
        push(engine, name)
        assert served(registry) == layout.blobs


def test_a_tag_that_another_client_moves_during_a_push_is_moved_back(engine: Engine, registry: FakeRegistry) -> None:
    layout, other = simple_layout(), simple_layout(author="another")
    name = f"{registry.host}/team/app:1"
    put_image(engine, name, layout)
    push(engine, name)
    registry.blobs.clear()
    for line in push_image(engine, Reference.parse(name)):
        if line.status == "Preparing":
            registry.publish(other, other.manifests[0])
    assert registry.manifests["team/app", "1"].content == layout.blobs[layout.manifests[0]["digest"]]
