"""Points in time as moby reads them."""

from __future__ import annotations

import time

import pytest

from stowage.services.errors import InvalidParameter
from stowage.services.moments import parse_moment

SECOND = 1_000_000_000
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
