"""Which Windows versions run images of which others: before Server 2022 only the same build, since then back to the previous LTSC release.

Source: github.com/containerd/platforms platform_windows_compat.go; Microsoft, "Windows container version compatibility".
"""

from __future__ import annotations

import re
from bisect import bisect_right

_LTSC_BUILDS = (20348, 26100)
_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:\..*)?", re.ASCII | re.DOTALL)
_UNKNOWN = (0, 0, 0)


def accepts_version(wanted: str, offered: str) -> bool:
    """Whether a host of the version `wanted` runs an image of the version `offered`.

    An empty or malformed `wanted` accepts everything, and an empty `offered` is accepted everywhere.
    """
    host, image = _parse(wanted), _parse(offered)
    if host == _UNKNOWN or not offered:
        return True
    if host[:2] != image[:2]:
        return False
    if host[2] < _LTSC_BUILDS[0]:
        return host[2] == image[2]
    generation = bisect_right(_LTSC_BUILDS, host[2]) - 1
    return _LTSC_BUILDS[max(generation - 1, 0)] <= image[2] <= host[2]


def _parse(version: str) -> tuple[int, int, int]:
    match = _VERSION.fullmatch(version)
    if match is None:
        return _UNKNOWN
    major, minor, build = int(match[1]), int(match[2]), int(match[3])
    return (major, minor, build) if major < 256 and minor < 256 and build < 65536 else _UNKNOWN
