"""Go's durations and points in time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidParameter
from stowage.services.gotime import format_time, parse_duration, parse_time

SECOND = 1_000_000_000


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0),
        ("-0", 0),
        ("1ns", 1),
        ("2us", 2_000),
        ("2µs", 2_000),
        ("2μs", 2_000),
        ("3ms", 3_000_000),
        ("1h30m", 5400 * SECOND),
        ("1h1m1s1ms1us1ns", 3_661_001_001_001),
        ("-1.5h", -5400 * SECOND),
        ("+.5s", SECOND // 2),
        ("1.s", SECOND),
        ("0.1s", SECOND // 10),
        ("0.3333333333333333333h", 1_199_999_999_999),
        ("9223372036854775807ns", (1 << 63) - 1),
        ("-9223372036854775808ns", -(1 << 63)),
    ],
)
def test_a_duration_is_read_in_nanoseconds(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", 'time: invalid duration ""'),
        ("-", 'time: invalid duration "-"'),
        ("3", 'time: missing unit in duration "3"'),
        ("1h5", 'time: missing unit in duration "1h5"'),
        ("1d", 'time: unknown unit "d" in duration "1d"'),
        ("1h 2m", 'time: unknown unit "h " in duration "1h 2m"'),
        (".s", 'time: invalid duration ".s"'),
        ("banana", 'time: invalid duration "banana"'),
        ("--1s", 'time: invalid duration "--1s"'),
        ("٣s", 'time: invalid duration "٣s"'),
        ("9223372036854775808ns", 'time: invalid duration "9223372036854775808ns"'),
        ("9" * 5000 + "h", f'time: invalid duration "{"9" * 5000}h"'),
    ],
)
def test_what_is_no_duration_is_refused_in_gos_words(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_duration(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("1970-01-01T00:00:00Z", (0, 0)),
        ("1970-01-01T00:00:00.000000001Z", (1, 0)),
        ("1969-12-31T23:59:59.5Z", (-SECOND // 2, 0)),
        ("1970-01-01T01:00:00+01:00", (0, 3600)),
        ("1969-12-31T18:30:00-05:30", (0, -19800)),
        ("1970-01-01T00:00:00,25Z", (SECOND // 4, 0)),
        ("1970-01-01T00:00:00.1234567899Z", (123_456_789, 0)),
        ("1970-01-01T0:00:00Z", (0, 0)),
        ("2024-02-29T12:00:00Z", (1_709_208_000 * SECOND, 0)),
        ("0001-01-01T00:00:00Z", (-62_135_596_800 * SECOND, 0)),
        ("0000-02-29T00:00:00Z", (-62_162_121_600 * SECOND, 0)),
        ("9999-12-31T23:59:59.999999999Z", (253_402_300_799 * SECOND + 999_999_999, 0)),
        ("1970-01-02T00:59:00Z", ((86_400 + 3540) * SECOND, 0)),
    ],
)
def test_a_point_in_time_keeps_nanoseconds_and_offset(text: str, instant: tuple[int, int]) -> None:
    assert parse_time(text) == instant


AS_RFC3339 = 'as "2006-01-02T15:04:05Z07:00": cannot parse'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", f'parsing time "" {AS_RFC3339} "" as "2006"'),
        ("abc", f'parsing time "abc" {AS_RFC3339} "abc" as "2006"'),
        ("2024", f'parsing time "2024" {AS_RFC3339} "" as "-"'),
        ("2024-01-02", f'parsing time "2024-01-02" {AS_RFC3339} "" as "T"'),
        ("2024-01-02t03:04:05Z", f'parsing time "2024-01-02t03:04:05Z" {AS_RFC3339} "t03:04:05Z" as "T"'),
        ("2024-01-02T03:04:05", f'parsing time "2024-01-02T03:04:05" {AS_RFC3339} "" as "Z07:00"'),
        ("2024-01-02T03:04:05z", f'parsing time "2024-01-02T03:04:05z" {AS_RFC3339} "z" as "Z07:00"'),
        ("2024-13-02T03:04:05Z", 'parsing time "2024-13-02T03:04:05Z": month out of range'),
        ("2023-02-29T03:04:05Z", 'parsing time "2023-02-29T03:04:05Z": day out of range'),
        ("2024-01-02T24:04:05Z", 'parsing time "2024-01-02T24:04:05Z": hour out of range'),
        ("2024-01-02T03:60:05Z", 'parsing time "2024-01-02T03:60:05Z": minute out of range'),
        ("2024-01-02T03:04:60Z", 'parsing time "2024-01-02T03:04:60Z": second out of range'),
        ("2024-01-02T03:04:05+25:00", 'parsing time "2024-01-02T03:04:05+25:00": time zone offset hour out of range'),
        ("2024-01-02T03:04:05Z\n", 'parsing time "2024-01-02T03:04:05Z\\n": extra text: "\\n"'),
    ],
)
def test_what_is_no_point_in_time_is_refused_in_gos_words(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_time(text)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("nanoseconds", "offset", "text"),
    [
        (0, 0, "1970-01-01T00:00:00Z"),
        (120_000_000, 0, "1970-01-01T00:00:00.12Z"),
        (-1, 0, "1969-12-31T23:59:59.999999999Z"),
        (0, 5400, "1970-01-01T01:30:00+01:30"),
        (0, -1800, "1969-12-31T23:30:00-00:30"),
        (-62_135_596_800 * SECOND, 0, "0001-01-01T00:00:00Z"),
        (-62_167_219_200 * SECOND, 0, "0000-01-01T00:00:00Z"),
    ],
)
def test_a_point_in_time_is_written_without_trailing_zeros(nanoseconds: int, offset: int, text: str) -> None:
    assert format_time(nanoseconds, offset) == text


@given(st.integers(-62_167_132_800 * SECOND, 253_402_214_400 * SECOND), st.integers(-1439, 1439))
def test_every_point_in_time_survives_being_written_and_read(nanoseconds: int, minutes: int) -> None:
    assert parse_time(format_time(nanoseconds, minutes * 60)) == (nanoseconds, minutes * 60)
