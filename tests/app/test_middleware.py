"""Paths as gorilla/mux cleans them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.middleware import clean_path


@pytest.mark.parametrize(
    ("path", "cleaned"),
    [
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/a/", "/a/"),
        ("//a//b", "/a/b"),
        ("/a/./b/../c", "/a/c"),
        ("/..", "/"),
        ("/a/..", "/"),
        ("/a/../", "/"),
        ("a", "/a"),
        ("/a/.", "/a"),
    ],
)
def test_a_path_is_cleaned(path: str, cleaned: str) -> None:
    assert clean_path(path) == cleaned


@given(st.text(alphabet="/.ab"))
def test_a_clean_path_stays(path: str) -> None:
    assert clean_path(clean_path(path)) == clean_path(path)
