"""Patterns of names: what they match, and where the store looks for it."""

from __future__ import annotations

import sqlite3
import string
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.oci.digest import Digest
from stowage.services.oci.reference import Reference, dangling_name, name_forms
from stowage.services.store.name_patterns import NamePatterns

DIGEST = Digest.of(b"target")

_WORD = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=4)
_DOMAIN = st.sampled_from(["", "docker.io/", "docker.io/library/", "localhost/", "localhost:5000/", "registry.example.org/", "lib/"])
_TAG = st.sampled_from(["", ":1", ":latest", f"@{DIGEST}", f":1@{DIGEST}"])
NAMES = st.builds(
    lambda domain, path, tag: str(Reference.parse(f"{domain}{'/'.join(path)}{tag}").tagged()), _DOMAIN, st.lists(_WORD, min_size=1), _TAG
)


def reference_forms(name: str) -> tuple[str, ...]:
    reference = Reference.parse(name)
    return reference.familiar, reference.familiar_name, str(reference.tagged()), reference.name


def is_like(name: str, like: str) -> bool:
    with closing(sqlite3.connect(":memory:")) as database:
        return bool(database.execute(r"SELECT ? LIKE ? ESCAPE '\'", (name, like)).fetchone()[0])


@given(NAMES)
def test_the_quick_forms_of_a_name_are_those_of_its_reference(name: str) -> None:
    assert name_forms(name) == reference_forms(name)


def test_the_forms_of_a_dangling_name_are_those_of_its_reference() -> None:
    assert name_forms(dangling_name(DIGEST)) == reference_forms(dangling_name(DIGEST))


@given(NAMES | st.just(dangling_name(DIGEST)), st.data())
def test_a_name_that_matches_is_found_by_what_it_begins_with_and_is_like(name: str, data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(reference_forms(name)))
    cut = data.draw(st.integers(0, len(form)))
    pattern = data.draw(st.sampled_from([form, f"{form[:cut]}*{form[cut + 1 :]}", f"{form[:cut]}?{form[cut + 1 :]}", f"{form[:cut]}*"]))
    patterns = NamePatterns([pattern])
    if patterns.match(name):
        assert any(name.startswith(prefix) for prefix in patterns.prefixes)
        assert not patterns.likes or any(is_like(name, like) for like in patterns.likes)
    else:
        assert pattern != form


@pytest.mark.parametrize(
    ("pattern", "prefixes"),
    [
        pytest.param(
            "app",
            ["app:", "app@", "docker.io/app:", "docker.io/app@", "docker.io/library/app:", "docker.io/library/app@"],
            id="a repository, but none that begins with its name",
        ),
        pytest.param("docker.io/team/app:1?", None, id="the tag of a pattern"),
        pytest.param("*", [""], id="a leading star"),
    ],
)
def test_the_store_looks_at_a_range_of_names(pattern: str, prefixes: list[str] | None) -> None:
    found = NamePatterns([pattern]).prefixes
    if prefixes is None:
        assert all(prefix.endswith(("docker.io/team/app:", "docker.io/team/app@")) for prefix in found)
    else:
        assert found == prefixes


def test_so_many_patterns_are_compared_with_all_names() -> None:
    assert NamePatterns([f"app{number}" for number in range(50)]).prefixes == [""]


@pytest.mark.parametrize(
    ("pattern", "likes"),
    [
        pytest.param("*/app", ["%/app", "%/app:%", "%/app@%"], id="a leading star"),
        pytest.param("*/a?[b-d]\\_%*", [r"%/a__\_\%%"], id="characters that are special to SQL"),
        pytest.param("app", None, id="a whole name"),
        pytest.param("*/[", [], id="malformed"),
        pytest.param("*a*b*c*d*e", None, id="many stars"),
    ],
)
def test_the_store_leaves_out_names_that_are_not_like_a_pattern(pattern: str, likes: list[str] | None) -> None:
    found = NamePatterns([pattern]).likes
    assert found == ([] if likes is None else [*likes, "moby-dangling@%"])


def test_so_many_patterns_are_no_conditions() -> None:
    assert NamePatterns([f"*{number}" for number in range(50)]).likes == []


@given(NAMES, st.data())
def test_a_name_with_a_part_is_found_by_what_it_is_like(name: str, data: st.DataObject) -> None:
    familiar = name_forms(name)[0]
    first = data.draw(st.integers(0, len(familiar) - 1))
    part = familiar[first : data.draw(st.integers(first + 1, len(familiar)))]
    patterns = NamePatterns([], part)
    assert patterns.match(name) and patterns.prefixes == [""]
    assert all(is_like(name, like) for like in patterns.likes)
    assert not NamePatterns(["absent"], part).match(name)


def test_a_part_is_not_looked_for_where_people_do_not_see_it() -> None:
    assert not NamePatterns([], "library").match("docker.io/library/app:1")
    assert not NamePatterns([], "sha256").match(dangling_name(DIGEST))
    assert NamePatterns([], "docker.io/library/a").match("docker.io/library/app:1")


@pytest.mark.parametrize("patterns", [NamePatterns(["a\0b", "a\0*", "*\0"]), NamePatterns([], "a\0")])
def test_no_database_is_asked_for_a_nul(patterns: NamePatterns) -> None:
    assert "\0" not in "".join([*patterns.prefixes, *patterns.likes])
    assert not patterns.match("docker.io/library/ab:1")
