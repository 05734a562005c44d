"""What pulls keep in memory while their layers arrive is limited for all of them together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, Unavailable
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.oci import mediatypes
from stowage.services.progress import Progress
from tests.builders import Json, Layout, digest_of, make_layer, on_platform, to_json
from tests.engines import memory_budget
from tests.fake_registry import Answer, FakeRegistry, Fault
from tests.services.images.pulls import first_line, pull

MIB = 1 << 20


def absent(media_type: str, number: int) -> Json:
    return {"mediaType": media_type, "digest": digest_of(b"%d" % number), "size": 1}


def with_many_layers(layout: Layout) -> Json:
    config = layout.add(to_json({"os": "linux", "architecture": "amd64"}), mediatypes.OCI_CONFIG)
    return layout.manifest(config, [absent(mediatypes.OCI_LAYER_GZIP, number) for number in range(1200)])


def with_many_manifests(layout: Layout) -> Json:
    others = [on_platform(absent(mediatypes.OCI_MANIFEST, number), "linux/s390x") for number in range(3000)]
    return layout.index([on_platform(layout.image([make_layer()]), "linux/amd64"), *others])


@pytest.mark.parametrize("make", [with_many_layers, with_many_manifests])
def test_what_held_pulls_keep_does_not_add_up(engine: Engine, registry: FakeRegistry, make: Callable[[Layout], Json]) -> None:
    layout, usual = Layout(), Layout()
    large = pull_reference(registry.publish(layout, make(layout), "team/large"), "1")
    small = registry.publish(usual, usual.image([make_layer(str(number)) for number in range(20)]), "team/small")
    narrow = replace(engine, memory=memory_budget(6 * MIB, seconds=0))
    with closing(pull_image(narrow, large)) as held:
        assert first_line(held).status == "Pulling from team/large"
        assert 0 < narrow.memory.free < 3 * MIB
        with pytest.raises(Unavailable, match="^other requests use too much memory"):
            first_line(pull_image(narrow, large))
        assert pull(narrow, small)[-1].status.startswith("Status: Downloaded newer image")
    assert narrow.memory.free == 6 * MIB


def test_lists_of_tags_that_do_not_end_do_not_add_up(engine: Engine, registry: FakeRegistry) -> None:
    layout = Layout()
    name = registry.publish(layout, layout.image([make_layer()]))
    registry.manifests |= {("team/app", f"{number:0100}"): registry.manifests["team/app", "1"] for number in range(25_000)}
    registry.faults["list"] = Fault.STALLED
    narrow = replace(engine, memory=memory_budget(16 * MIB, seconds=0))
    with closing(pull_image(narrow, pull_reference(name, ""))) as held:
        while narrow.memory.free > 5 * MIB:
            assert next(held) == Progress()
        with pytest.raises(Unavailable, match="^other requests use too much memory"):
            first_line(pull_image(narrow, pull_reference(name, "")))
        assert pull(narrow, name)[-1].status.startswith("Status: Downloaded newer image")
    assert narrow.memory.free == 16 * MIB


def test_a_list_of_tags_that_needs_more_memory_than_there_is_is_refused(engine: Engine, registry: FakeRegistry) -> None:
    page = to_json({"tags": [f"{number:0100}" for number in range(10_000)]})
    registry.answers["list"] = Answer(200, page, {"Link": "</v2/team/app/tags/list?last=x>"})
    narrow = replace(engine, memory=memory_budget(16 * MIB, seconds=0))
    with pytest.raises(Forbidden, match="STOWAGE_REQUEST_MEMORY allows"):
        pull(narrow, f"{registry.host}/team/app", "")
    assert narrow.memory.free == 16 * MIB
