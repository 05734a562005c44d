"""Amounts in words."""

import pytest

from stowage.services.progress import human_seconds, human_size


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (45_678_901, "45.68MB"), (2_500_000_000, "2.5GB"), (10**20, "100EB")]
)
def test_sizes(count: int, text: str) -> None:
    assert human_size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (59, "59s"), (60, "1m0s"), (312, "5m12s"), (3605, "1h0m5s")])
def test_durations(seconds: int, text: str) -> None:
    assert human_seconds(seconds) == text
