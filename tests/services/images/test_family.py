"""Which images are built on which."""

from __future__ import annotations

import pytest

from stowage.services.engine import Engine
from stowage.services.errors import Forbidden, ImageNotFound
from stowage.services.images.delete import delete_image
from stowage.services.images.family import Member, find_member, read_family
from tests.builders import Layout, make_layer, put_image


def put(engine: Engine, name: str | None, *layers: str, compression: str = "gzip", **config: str) -> None:
    layout = Layout()
    put_image(engine, name, layout, layout.image(map(make_layer, layers), compression=compression, config={"Labels": {**config}}))


def name(member: Member) -> str:
    return member.images[0].name or "no name"


def tree(engine: Engine, *patterns: str) -> list[tuple[str, str, int, int]]:
    """Each member: its name, its parent's, how many layers it adds, and how many descendants it has."""
    family = read_family(engine, patterns=patterns)
    return [(name(each), name(each.parent) if each.parent else "", each.added_layers, each.descendants) for each in family.members]


@pytest.fixture
def related(engine: Engine) -> Engine:
    put(engine, "app:1", "base", "tools", "app1")
    put(engine, "app:2", "base", "tools", "app2", "more")
    put(engine, "base:1", "base")
    put(engine, "tools:1", "base", "tools")
    put(engine, "other:1", "other")
    return engine


def test_an_image_is_built_on_the_one_that_it_begins_with(related: Engine) -> None:
    assert tree(related) == [
        ("base:1", "", 1, 3),
        ("tools:1", "base:1", 1, 2),
        ("app:1", "tools:1", 1, 0),
        ("app:2", "tools:1", 2, 0),
        ("other:1", "", 1, 0),
    ]


def test_without_an_image_in_between_the_next_one_is_the_parent(related: Engine) -> None:
    delete_image(related, "tools:1")
    assert tree(related)[:3] == [("base:1", "", 1, 2), ("app:1", "base:1", 2, 0), ("app:2", "base:1", 3, 0)]
    delete_image(related, "base:1")
    assert [parent for _, parent, *_ in tree(related)] == ["", "", ""]


def test_an_image_between_others_is_between_them_at_once(related: Engine) -> None:
    assert tree(related)[3] == ("app:2", "tools:1", 2, 0)
    put(related, "between:1", "base", "tools", "app2")
    assert ("app:2", "between:1", 1, 0) in tree(related)


def test_images_with_the_same_layers_are_one_member(related: Engine) -> None:
    put(related, "base:0", "base", setting="another")
    put(related, "zstd:1", "base", compression="zstd")
    member = read_family(related).roots[0]
    assert [image.name for image in member.images] == ["base:0", "base:1", "zstd:1"]
    assert member.descendants == 3


def test_an_image_without_layers_is_nobodys_parent(related: Engine) -> None:
    put(related, "empty:1")
    assert "empty:1" not in [name(each) for each in read_family(related).members]


def test_what_an_image_adds_is_the_stored_bytes_of_its_own_layers(related: Engine) -> None:
    for member in read_family(related).members:
        assert member.added == member.size - (member.parent.size if member.parent else 0) > 0


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("tools", ["base:1", "tools:1", "app:1", "app:2"]),
        ("app:2", ["base:1", "tools:1", "app:2"]),
        ("app:*", ["base:1", "tools:1", "app:1", "app:2"]),
        ("other", ["other:1"]),
        ("absent", []),
    ],
)
def test_a_pattern_leaves_what_is_above_and_below(related: Engine, pattern: str, names: list[str]) -> None:
    assert [found for found, *_ in tree(related, pattern)] == names


def test_relatives_of_a_pattern_may_be_compressed_otherwise(related: Engine) -> None:
    put(related, "zstd:1", "base", "tools", "zstd", compression="zstd")
    assert ("zstd:1", "tools:1", 1, 0) in tree(related, "tools")
    assert tree(related, "zstd:1") == [("base:1", "", 1, 4), ("tools:1", "base:1", 1, 3), ("zstd:1", "tools:1", 1, 0)]


def test_the_family_of_one_image_is_what_it_is_built_on_and_what_is_built_on_it(related: Engine) -> None:
    assert [name(member) for member in read_family(related, name="tools:1").members] == ["base:1", "tools:1", "app:1", "app:2"]
    with pytest.raises(ImageNotFound):
        read_family(related, name="absent")


def test_more_images_than_allowed_are_refused_unless_fewer_are_wanted(related: Engine) -> None:
    assert len(read_family(related, most=5).members) == 5
    sentence = r"^more than 4 images would be compared: name some by a pattern such as team/\*, or raise STOWAGE_FAMILY_IMAGES$"
    for patterns in ((), ("*",), ("other", "app*", "base*", "tools*")):
        with pytest.raises(Forbidden, match=sentence):
            read_family(related, patterns=patterns, most=4)
    assert [name(member) for member in read_family(related, patterns=("other",), most=1).members] == ["other:1"]
    assert len(read_family(related, name="app:1", most=4).members) == 3
    with pytest.raises(Forbidden):
        read_family(related, name="app:1", most=3)


def test_a_member_is_found_by_any_name_or_id(related: Engine) -> None:
    family = read_family(related)
    member = find_member(related, family, "tools:1")
    assert member is not None and name(member) == "tools:1"
    assert find_member(related, family, member.images[0].digest) is member
    with pytest.raises(ImageNotFound):
        find_member(related, family, "absent")


def test_an_image_without_a_name_has_its_place(related: Engine) -> None:
    put(related, None, "base", "tools", "unnamed")
    assert ("no name", "tools:1", 1, 0) in tree(related)
