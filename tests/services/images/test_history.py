"""How an image was made."""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Internal, NotFound
from stowage.services.images.history import HistoryStep, read_history
from stowage.services.oci.platform import Platform
from tests.builders import Layout, make_layer, put_image, simple_layout


def test_steps_come_newest_first_and_only_the_last_is_an_image(engine: Engine) -> None:
    steps = [
        {"created": "2023-01-01T00:00:00Z", "created_by": "ADD one"},
        {"created_by": "ENV A=1", "empty_layer": True},
        {"created": "2023-01-02T00:00:00Z", "created_by": "ADD two", "comment": "last"},
    ]
    layers = [make_layer("one", size=5000), make_layer("two", size=70_000)]
    layout = Layout()
    digest = put_image(engine, "app:1", layout, layout.image(layers, history=steps))
    put_image(engine, "app:2", layout, layout.image(layers, history=steps))
    assert read_history(engine, "app:1") == (
        HistoryStep(str(digest), 1672617600, "ADD two", "last", len(layers[1]), ("app:1", "app:2")),
        HistoryStep("<missing>", 0, "ENV A=1", "", 0, None),
        HistoryStep("<missing>", 1672531200, "ADD one", "", len(layers[0]), None),
    )


def test_sizes_are_those_of_the_uncompressed_layers(engine: Engine) -> None:
    raw = make_layer("one", size=100_000)
    for compression in ("none", "gzip", "zstd"):
        layout = Layout()
        put_image(engine, f"app:{compression}", layout, layout.image([raw], compression=compression))
        steps = read_history(engine, f"app:{compression}")
        assert steps is not None and [step.size for step in steps] == [len(raw)]


def test_a_dangling_image_has_no_tags(engine: Engine) -> None:
    steps = read_history(engine, str(put_image(engine, None)))
    assert steps is not None and steps[0].tags is None


@pytest.mark.parametrize("history", [None, []])
def test_an_image_without_a_history_tells_none(engine: Engine, history: list[object] | None) -> None:
    put_image(engine, "app", simple_layout(history=history))
    assert read_history(engine, "app") is None


def test_a_chart_tells_no_history(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "chart", layout, layout.chart())
    assert read_history(engine, "chart") is None


def test_more_steps_than_layers_are_an_error(engine: Engine) -> None:
    put_image(engine, "app", simple_layout(history=[{"created_by": "one"}, {"created_by": "two"}]))
    with pytest.raises(Internal, match="^unable to find the size of the layer$"):
        read_history(engine, "app")


def test_a_platform_has_its_own_history(engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "multi", layout, layout.multi_platform())
    steps = read_history(engine, "multi", platform=Platform("linux", "arm64"))
    assert steps is not None and steps[0].size == len(make_layer("linux-arm64-v8"))


def test_a_platform_that_is_not_there_is_an_error(engine: Engine) -> None:
    put_image(engine, "app")
    words = r"^image with reference app:latest was found but does not provide the specified platform \(linux/s390x\)$"
    with pytest.raises(NotFound, match=words):
        read_history(engine, "app", platform=Platform("linux", "s390x"))
