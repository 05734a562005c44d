"""Timestamps as Go's JSON has them."""

from __future__ import annotations

import pytest

from stowage.services.errors import InvalidContent
from stowage.services.oci.timestamp import ZERO, Timestamp


def test_the_offset_is_kept_in_minutes() -> None:
    timestamp = Timestamp.parse("2024-05-06T07:08:09.012+05:45")
    assert timestamp.offset == 345
    assert timestamp.nanoseconds == Timestamp.parse("2024-05-06T01:23:09.012Z").nanoseconds
    assert str(timestamp) == "2024-05-06T07:08:09.012+05:45"


def test_whole_seconds_are_rounded_down() -> None:
    assert Timestamp.parse("1969-12-31T23:59:59.9Z").unix == -1
    assert Timestamp.parse("1970-01-01T00:00:01.9Z").unix == 1


def test_the_zero_time() -> None:
    assert str(ZERO) == "0001-01-01T00:00:00Z"
    assert Timestamp.parse("0001-01-01T00:00:00Z") == ZERO


def test_content_with_a_malformed_time_is_invalid() -> None:
    with pytest.raises(InvalidContent, match=r'^parsing time "yesterday" as'):
        Timestamp.parse("yesterday")
