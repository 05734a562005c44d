"""Go's durations, timestamps of Go's JSON, and points in time as moby reads them."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidContent, InvalidParameter
from stowage.services.timestamps import ZERO, Timestamp, format_time, parse_duration, parse_moment, parse_time

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


NOW = 1_700_000_000 * SECOND


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1h30m", NOW - 5400 * SECOND),
        ("-1s", NOW + SECOND),
        ("0s", NOW),
        ("0", 0),
        ("1700000000", NOW),
        ("+5", 5 * SECOND),
        ("1700000000.25", NOW + SECOND // 4),
        ("1.", SECOND),
        ("1.00000000199", SECOND + 1),
        ("2024-01-02T03:04:05Z", 1_704_164_645 * SECOND),
        ("2024-01-02T03:04:05.5Z", 1_704_164_645 * SECOND + SECOND // 2),
        ("2024-01-02T03:04:05+01:00", 1_704_161_045 * SECOND),
        ("2024-01-02T03:04:05-01:00", 1_704_168_245 * SECOND),
        ("2024-01-02T03:04Z", 1_704_164_640 * SECOND),
        ("2024-01-02T03:04+00:00", 1_704_164_640 * SECOND),
        ("2024-01-02T03Z", 1_704_164_400 * SECOND),
        ("2024-01-02T03-01:00", 1_704_168_000 * SECOND),
        ("2024-01-02Z", 1_704_153_600 * SECOND),
        ("2024-01-02+01:00", 1_704_150_000 * SECOND),
        ("2024-01-02-01:00", 1_704_157_200 * SECOND),
    ],
)
def test_a_point_in_time_is_read(text: str, moment: int) -> None:
    assert parse_moment(text, NOW) == moment


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2024-01-02", 1_704_153_600),
        ("2024-01-02T03", 1_704_164_400),
        ("2024-01-02T03:04", 1_704_164_640),
        ("2024-01-02T03:04:05", 1_704_164_645),
        ("2024-01-02T03:04:05.0", 1_704_164_645),
    ],
)
def test_a_date_without_a_zone_is_meant_in_the_zone_of_this_machine(monkeypatch: pytest.MonkeyPatch, text: str, utc: int) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-2")
        time.tzset()
        moment = parse_moment(text, NOW)
    time.tzset()
    assert moment == (utc - 7200) * SECOND


PREFIX = "failed to parse value as time or duration"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", f"{PREFIX}: value is empty"),
        (" \t", f"{PREFIX}: value is empty"),
        ("banana", f'{PREFIX}: invalid seconds "banana": invalid syntax'),
        ("1d", f'{PREFIX}: invalid seconds "1d": invalid syntax'),
        ("1_0", f'{PREFIX}: invalid seconds "1_0": invalid syntax'),
        ("٣", f'{PREFIX}: invalid seconds "٣": invalid syntax'),
        ("9223372036854775808", f'{PREFIX}: invalid seconds "9223372036854775808": value out of range'),
        ("9" * 5000, f'{PREFIX}: invalid seconds "{"9" * 5000}": value out of range'),
        ("1.x", f"{PREFIX}: invalid nanoseconds: invalid character 'x' at position 0"),
        ("1." + "0" * 21, f"{PREFIX}: invalid nanoseconds: length 21 exceeds maximum 20"),
        ("-5", 'parsing time "-5" as "2006-01-02": cannot parse "-5" as "2006"'),
        ("2024-13-01", 'parsing time "2024-13-01": month out of range'),
        ("2024-02-30", 'parsing time "2024-02-30": day out of range'),
        ("2024-01-02T03:04+1", 'parsing time "2024-01-02T03:04+1" as "2006-01-02T15Z07:00": cannot parse ":04+1" as "Z07:00"'),
    ],
)
def test_what_is_no_point_in_time_is_refused_in_mobys_words(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_moment(text, NOW)
    assert str(caught.value) == sentence


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
