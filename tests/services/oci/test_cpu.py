"""Levels of x86-64 from the flags of a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from stowage.services.oci.cpu import amd64_level, read_flags

V2 = ["pni", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"]
V3 = [*V2, *["fma", "movbe", "xsave", "avx", "f16c", "bmi1", "avx2", "bmi2", "abm"]]
V4 = [*V3, *["avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"]]


@pytest.mark.parametrize(
    ("flags", "level"),
    [
        pytest.param([], "", id="unknown"),
        pytest.param(["fpu", "sse2", "lm"], "", id="v1"),
        pytest.param(V2, "v2", id="v2"),
        pytest.param([*V2, "avx", "avx2"], "v2", id="almost v3"),
        pytest.param(V3, "v3", id="v3"),
        pytest.param(V4, "v4", id="v4"),
        pytest.param([flag for flag in V4 if flag != "avx512vl"], "v3", id="almost v4"),
        pytest.param([flag for flag in V4 if flag != "cx16"], "", id="a level needs those below it"),
    ],
)
def test_the_level_of_a_cpu(flags: list[str], level: str) -> None:
    assert amd64_level(flags) == level


def test_the_flags_are_those_of_the_first_cpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text("processor\t: 0\nflags\t\t: fpu cx16\nbugs\t\t: spectre\n\nprocessor\t: 1\nflags\t\t: fpu\n")
    monkeypatch.setattr("stowage.services.oci.cpu._CPUINFO", told)
    assert read_flags() == {"fpu", "cx16"}


def test_a_system_that_tells_no_flags_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stowage.services.oci.cpu._CPUINFO", tmp_path / "missing")
    assert read_flags() == frozenset()
