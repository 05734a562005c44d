"""The levels of x86-64, which Docker treats as variants of amd64: a CPU of one level also runs code for the levels below.

Source: x86-64 psABI, "Micro-Architecture Levels"; github.com/tonistiigi/go-archvariant (amd64variant.go). The names are the flags of
Linux's /proc/cpuinfo.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_LEVELS = (
    ("v2", {"pni", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"}),
    ("v3", {"fma", "movbe", "xsave", "avx", "f16c", "bmi1", "avx2", "bmi2", "abm"}),
    ("v4", {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"}),
)


def amd64_level(flags: Collection[str]) -> str:
    """The highest level of a CPU with these flags: v2, v3 or v4, or "" for the lowest, which needs no name."""
    highest = ""
    for level, needed in _LEVELS:
        if not needed.issubset(flags):
            break
        highest = level
    return highest


def read_flags() -> frozenset[str]:
    """The flags of this machine's first CPU; none if the system does not report them."""
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), ()))
