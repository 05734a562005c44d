"""API versions as values."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.blueprints.versioning import MAX_API_VERSION, MIN_API_VERSION, ApiVersion


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_version_is_read_back(major: int, minor: int) -> None:
    assert ApiVersion.parse(str(ApiVersion(major, minor))) == ApiVersion(major, minor)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        pytest.param("1", ApiVersion(1, 0), id="major alone"),
        pytest.param("1.", ApiVersion(1, 0), id="empty minor"),
        pytest.param(".", ApiVersion(0, 0), id="dot"),
        pytest.param(".45", ApiVersion(0, 45), id="empty major"),
        pytest.param("01.045", ApiVersion(1, 45), id="zeros in front"),
        pytest.param("1.45.9", ApiVersion(1, 45), id="third number"),
    ],
)
def test_odd_versions_are_read_as_moby_compares_them(text: str, version: ApiVersion) -> None:
    assert ApiVersion.parse(text) == version


@given(st.text(alphabet="0123456789.", min_size=1, max_size=6000))
def test_whatever_the_prefix_lets_through_is_read(text: str) -> None:
    assert ApiVersion.parse(text) >= ApiVersion(0, 0)


def test_versions_are_ordered_by_number() -> None:
    assert ApiVersion(1, 9) < MIN_API_VERSION < ApiVersion(1, 45) < MAX_API_VERSION < ApiVersion(2, 0)
