"""Two images side by side."""

from __future__ import annotations

from typing import Any

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import ImageNotFound
from stowage.services.images.difference import ImageDifference, SettingDifference, compare_images
from stowage.services.images.file_table import Change
from stowage.services.images.file_views import FileItem, Listing
from stowage.services.images.layered_files import Sum
from stowage.services.oci.platform import Platform
from tests.builders import HardLink, Layout, make_tar, put_image

BASE = make_tar({"etc/conf": b"1" * 10, "usr/lib/base": b"2" * 1000, "var/old/log": b"3" * 70})
OLD = make_tar({"app/main": b"old " * 10, "app/helper": b"h" * 30})
NEW = make_tar(
    {"app/main": b"new!" * 10, "jvm/bin/java": b"j" * 5000, "jvm/lib/rt": b"r" * 9000, "var/.wh.old": b"", "app/helper": b"h" * 30}
)


def put(engine: Engine, name: str, *layers: bytes, compression: str = "gzip", **image: Any) -> None:
    layout = Layout()
    put_image(engine, name, layout, layout.image(layers, compression=compression, **image))


@pytest.fixture
def compared(engine: Engine) -> ImageDifference:
    put(engine, "app:1", BASE, OLD)
    put(engine, "app:2", BASE, NEW, compression="zstd")
    return compare_images(engine, "app:1", "app:2")


def changes(items: tuple[FileItem, ...]) -> list[tuple[str, Change | None, int, int, int]]:
    return [(item.path, item.change, item.before, item.bytes, item.files) for item in items]


def test_layers_are_the_same_by_their_content(compared: ImageDifference) -> None:
    assert [len(layers) for layers in (compared.layers.same, compared.layers.left, compared.layers.right)] == [1, 1, 1]
    assert compared.layers.right[0].created_by == "COPY layer1 / # buildkit"


def test_what_made_an_image_grow_comes_first(compared: ImageDifference) -> None:
    assert compared.files is not None
    assert changes(compared.files.largest) == [("jvm", Change.ADDED, 0, 14000, 2), ("var/old", Change.REMOVED, 70, 0, 1)]
    assert [item.kind for item in compared.files.largest] == ["directory", "directory"]
    assert (compared.files.left, compared.files.right) == (Sum(5, 1150), Sum(6, 15080))


def test_differences_by_directory_and_flat(engine: Engine, compared: ImageDifference) -> None:
    assert compared.files is not None
    assert changes(compared.files.items) == [
        ("jvm", Change.ADDED, 0, 14000, 2),
        ("var", None, 70, 0, 1),
        ("app", None, 40, 40, 1),
    ]
    below = compare_images(engine, "app:1", "app:2", listing=Listing("/jvm")).files
    assert below is not None
    assert changes(below.items) == [("jvm/lib", Change.ADDED, 0, 9000, 1), ("jvm/bin", Change.ADDED, 0, 5000, 1)]
    flat = compare_images(engine, "app:1", "app:2", listing=Listing(flat=True)).files
    assert flat is not None
    assert [(item.path, item.change) for item in flat.items] == [
        ("jvm/lib/rt", Change.ADDED),
        ("jvm/bin/java", Change.ADDED),
        ("var/old/log", Change.REMOVED),
        ("app/main", Change.CHANGED),
    ]
    assert {change: sums for change, sums in flat.changes.items() if sums[0].files} == {
        Change.ADDED: (Sum(2, 0), Sum(2, 14000)),
        Change.CHANGED: (Sum(1, 40), Sum(1, 40)),
        Change.REMOVED: (Sum(1, 70), Sum(1, 0)),
    }


def test_equal_files_in_other_layers_are_no_difference(engine: Engine) -> None:
    put(engine, "one", BASE, OLD)
    put(engine, "squashed", make_tar({"etc/conf": b"1" * 10, "usr/lib/base": b"2" * 1000, "var/old/log": b"3" * 70} | {
        "app/main": b"old " * 10, "app/helper": b"h" * 30
    }))  # fmt: skip
    files = compare_images(engine, "one", "squashed").files
    assert files is not None
    assert (files.items, files.largest, files.total) == ((), (), 0)


def test_an_image_does_not_differ_from_itself(engine: Engine) -> None:
    put(engine, "app", BASE, config={"Env": ["A=1"]})
    found = compare_images(engine, "app", "app")
    assert found.files is not None
    assert (found.settings, found.files.items, found.layers.left, found.history.left, found.problem) == ((), (), (), (), "")


LINKED = {"d/f": b"1" * 5000, "d/g": HardLink("d/f")}
COPIED = {"d/f": b"1" * 5000, "d/g": b"1" * 5000}


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (LINKED, COPIED, [("d/g", Change.CHANGED, 0, 5000)]),
        (COPIED, LINKED, [("d/g", Change.CHANGED, 5000, 0)]),
        (LINKED, {"d/g": b"1" * 5000}, [("d/f", Change.REMOVED, 0, 0)]),
        ({"d/g": b"1" * 5000}, LINKED, [("d/f", Change.ADDED, 0, 0)]),
        (LINKED, {}, [("d/f", Change.REMOVED, 5000, 0), ("d/g", Change.REMOVED, 0, 0)]),
        (LINKED, {"d/g": b"1" * 5000, "d/f": HardLink("d/g")}, []),
    ],
    ids=["links become copies", "copies become links", "one link less", "one link more", "both links less", "the other way round"],
)
def test_what_hard_links_share_makes_a_difference_once(engine: Engine, left: Any, right: Any, expected: object) -> None:
    put(engine, "one", make_tar(left))
    put(engine, "two", make_tar(right))
    files = compare_images(engine, "one", "two", listing=Listing(flat=True, sort="name")).files
    assert files is not None
    assert [(item.path, item.change, item.before, item.bytes) for item in files.items] == expected
    assert sum(after.bytes - before.bytes for before, after in files.changes.values()) == files.right.bytes - files.left.bytes
    assert sum(item.bytes - item.before for item in files.largest) == files.right.bytes - files.left.bytes


def test_settings_that_differ(engine: Engine) -> None:
    ours = {"Env": ["PATH=/bin", "A=1", "GONE"], "Labels": {"v": "1"}, "Cmd": ["sh"], "User": "root", "ExposedPorts": {"80/tcp": {}}}
    theirs = {"Env": ["PATH=/bin", "A=2"], "Labels": {"v": "1", "x": "y"}, "Cmd": [], "Entrypoint": ["/a b"], "Volumes": {"/data": {}}}
    put(engine, "one", BASE, config=ours)
    put(engine, "two", BASE, config=theirs, platform="linux/arm64")
    assert compare_images(engine, "one", "two").settings == (
        SettingDifference("Platform", "", "linux/amd64", "linux/arm64"),
        SettingDifference("Env", "A", "1", "2"),
        SettingDifference("Env", "GONE", "", None),
        SettingDifference("Labels", "x", None, "y"),
        SettingDifference("Entrypoint", "", None, '["/a b"]'),
        SettingDifference("Cmd", "", '["sh"]', "[]"),
        SettingDifference("User", "", "root", None),
        SettingDifference("ExposedPorts", "80/tcp", "", None),
        SettingDifference("Volumes", "/data", None, ""),
    )


def test_histories_differ_from_the_first_other_step_on(engine: Engine) -> None:
    steps = [{"created_by": "ADD base"}, {"created_by": "ENV A=1", "empty_layer": True}]
    later = [{"created_by": "ADD base", "created": "2024-01-01T00:00:00Z"}, {"created_by": "ENV A=2", "empty_layer": True}]
    put(engine, "one", BASE, history=steps)
    put(engine, "two", BASE, history=later)
    history = compare_images(engine, "one", "two").history
    assert history.same == 1
    assert [[step.created_by for step in side] for side in (history.left, history.right)] == [["ENV A=1"], ["ENV A=2"]]


def test_two_platforms_of_one_image(engine: Engine) -> None:
    layout = Layout()
    layout.tag(layout.multi_platform(), "docker.io/library/multi:latest")
    put_image(engine, "multi", layout)
    sides = {"left_platform": Platform("linux", "amd64"), "right_platform": Platform("linux", "arm64")}
    found = compare_images(engine, "multi", "multi", listing=Listing(flat=True), **sides)
    assert found.files is not None
    assert sorted((item.path, item.change) for item in found.files.items) == [
        ("files/linux-amd64", Change.REMOVED),
        ("files/linux-arm64-v8", Change.ADDED),
    ]
    assert len(found.layers.same) == 1


def test_an_image_without_files_is_compared_without_them(engine: Engine) -> None:
    put(engine, "app", BASE)
    layout = Layout()
    text = layout.add(b"{}", "text/plain")
    put_image(engine, "text", layout, layout.manifest(layout.add_json({}, "application/vnd.oci.empty.v1+json"), [text]))
    found = compare_images(engine, "app", "text")
    assert found.files is None
    assert found.problem.startswith("image text has no layers that are archives of files")
    assert len(found.layers.right) == 1


def test_an_absent_image_is_not_found(engine: Engine) -> None:
    put(engine, "app", BASE)
    with pytest.raises(ImageNotFound):
        compare_images(engine, "app", "absent")
