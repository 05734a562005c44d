"""Platforms: operating system, architecture and variant; their normal form, text forms and the order of preference.

Two text grammars exist on Docker's wire: `os/arch/variant` (`Platform.parse`, on image create) and a JSON object
(`Platform.from_json`, everywhere else).

    specifier := os-part [ "/" architecture [ "/" variant ] ] | architecture
    os-part   := os [ "(" [ version ] { "+" feature } ")" ]

Source: OCI image spec image-index.md "platform"; github.com/containerd/platforms (platforms.go, compare.go, database.go,
platform_windows_compat.go); x86-64 psABI, "Micro-Architecture Levels"; github.com/tonistiigi/go-archvariant (amd64variant.go), whose names
are the flags of Linux's /proc/cpuinfo.
"""

from __future__ import annotations

import platform as machine
import re
import sys
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from stowage.services.errors import InvalidContent, InvalidParameter
from stowage.services.oci.gojson import Fields, escape_problem, quote

_COMPONENT = r"^[A-Za-z0-9_.-]+$"
_OS_PART = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$"
_COMPONENT_PATTERN = re.compile(_COMPONENT)
_VARIANT_VERSION = re.compile(r"v?(\d{1,2})", re.ASCII)
_ARM64_VARIANT = re.compile(r"v8(?:\.[0-9])?|v9(?:\.[0-7])?")

_KNOWN_OS = frozenset({
    "aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux", "nacl", "netbsd", "openbsd", "plan9",
    "solaris", "windows", "zos",
})  # fmt: skip
_KNOWN_ARCHITECTURES = frozenset({
    "386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "ppc64", "ppc64le", "loong64", "mips", "mipsle", "mips64", "mips64le",
    "mips64p32", "mips64p32le", "ppc", "riscv", "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm",
})  # fmt: skip
_ARM64_VARIANTS = {"8": "", "v8": "", "v8.0": "", "9": "v9", "9.0": "v9", "v9.0": "v9"}
_ARM_VARIANTS = {"": "v7", "7": "v7", "5": "v5", "6": "v6", "8": "v8"}
_MACHINES = {"i686": "386", "i586": "386", "loongarch64": "loong64"}
_MAX_TEXT = 4096
_T = TypeVar("_T")
_FORMAT_ESCAPES = str.maketrans({"%": "%25", "+": "%2B", "(": "%28", ")": "%29", "/": "%2F"})
_LTSC_BUILDS = (20348, 26100)
_WINDOWS_VERSION = re.compile(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:\..*)?", re.ASCII | re.DOTALL)
_NO_VERSION = (0, 0, 0)
_CPUINFO = Path("/proc/cpuinfo")
_CPU_LEVELS = (
    ("v2", {"pni", "ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"}),
    ("v3", {"fma", "movbe", "xsave", "avx", "f16c", "bmi1", "avx2", "bmi2", "abm"}),
    ("v4", {"avx512f", "avx512dq", "avx512cd", "avx512bw", "avx512vl"}),
)
"""The levels of x86-64, which Docker treats as variants of amd64: a CPU of one level also runs code for the levels below."""


@dataclass(frozen=True, slots=True)
class Platform:
    """A platform as it was written; `normalized()` returns the form to compare."""

    os: str = ""
    architecture: str = ""
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    @classmethod
    def parse(cls, specifier: str) -> Platform:
        """Read `linux`, `arm64`, `linux/arm/v7`; raises InvalidParameter with containerd's words."""
        if "*" in specifier:
            raise _invalid(f"{quote(specifier)}: wildcards not yet supported")
        parts = specifier.split("/", 3)
        system = _parse_os_part(parts[0], specifier)
        for part in parts[1:]:
            if not _COMPONENT_PATTERN.fullmatch(part):
                raise _invalid(
                    f"{quote(part)} is an invalid component of {quote(specifier)}: "
                    f"platform specifier component must match {quote(_COMPONENT)}"
                )
        match parts:
            case [_]:
                return _complete(system, specifier)
            case [_, architecture]:
                architecture, variant = _normalize_architecture(architecture, "")
                return replace(system, architecture=architecture, variant="" if architecture == "arm" and variant == "v7" else variant)
            case [_, architecture, variant]:
                architecture, variant = _normalize_architecture(architecture, variant)
                return replace(system, architecture=architecture, variant="v8" if architecture == "arm64" and not variant else variant)
        raise _invalid(f"{quote(specifier)}: cannot parse platform specifier")

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Platform:
        """Read the OCI JSON object (`os`, `architecture`, `variant`, `os.version`, `os.features`); raises as `read`."""
        return cls.read(Fields(value, "Platform"))

    @classmethod
    def read(cls, fields: Fields) -> Platform:
        """Read the platform members of an object that may have others; raises InvalidContent on wrong types and for too much text."""
        platform = cls(
            os=fields.text("os"),
            architecture=fields.text("architecture"),
            variant=fields.text("variant"),
            os_version=fields.text("os.version"),
            os_features=fields.texts("os.features") or (),
        )
        if sum(map(len, platform.texts)) > _MAX_TEXT:
            raise InvalidContent(f"platform has more than {_MAX_TEXT} characters")
        return platform

    @classmethod
    def host(cls) -> Platform:
        """The platform this process runs on, e.g. linux/amd64, linux/arm64/v8."""
        name = machine.machine().lower()
        if name.startswith("armv"):
            return cls(sys.platform, "arm", name[3:5])
        architecture, variant = _normalize_architecture(_MACHINES.get(name, name), "")
        return cls(sys.platform, architecture, "v8" if architecture == "arm64" else variant)

    @property
    def texts(self) -> tuple[str, ...]:
        """All that was written."""
        return (self.os, self.architecture, self.variant, self.os_version, *self.os_features)

    def without_level(self) -> Platform:
        """The same without the level of an x86-64 CPU: what is made here, or said about an image, is not specific to this CPU."""
        return replace(self, variant="") if self.architecture == "amd64" else self

    def to_json(self) -> dict[str, object]:
        """The OCI JSON object in Go's field order, empty fields left out except architecture and os."""
        written: dict[str, object] = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            written["os.version"] = self.os_version
        if self.os_features:
            written["os.features"] = list(self.os_features)
        if self.variant:
            written["variant"] = self.variant
        return written

    def normalized(self) -> Platform:
        """Lower case, aliases resolved (x86_64 -> amd64, aarch64 -> arm64 ...), default variants dropped or filled as containerd does."""
        return _normalize(self)

    def __str__(self) -> str:
        """`os/arch/variant` with `os(version+feature)`; containerd's FormatAll. "unknown" when there is no os."""
        if not self.os:
            return "unknown"
        features = [name for name in sorted(set(self.os_features)) if name]
        options = "+".join(option.translate(_FORMAT_ESCAPES) for option in (self.os_version, *features))
        system = f"{self.os}({options})" if options else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class PlatformMatcher:
    """A list of acceptable platforms, best first; the empty list accepts every platform.

    `preferred` orders the matching ones when they are accepted for another reason (any platform, host first). Both hold normal forms.
    """

    accepted: tuple[Platform, ...]
    preferred: tuple[Platform, ...]

    @classmethod
    def only(cls, platform: Platform) -> PlatformMatcher:
        """This platform and those it can run (amd64 also 386, arm64 also arm/v8 and below): containerd's Only."""
        runnable = _runnable(platform)
        return cls(runnable, runnable)

    @classmethod
    def only_strict(cls, platform: Platform) -> PlatformMatcher:
        """This platform alone: containerd's OnlyStrict."""
        alone = (platform.normalized(),)
        return cls(alone, alone)

    @classmethod
    def any_of(cls, platforms: tuple[Platform, ...], preferred: Platform) -> PlatformMatcher:
        """Any of these (all platforms when empty), ordered as `only(preferred)` orders: moby's matchAnyWithPreference."""
        return cls(tuple(platform.normalized() for platform in platforms), _runnable(preferred))

    def matches(self, platform: Platform) -> bool:
        """Whether this platform is acceptable."""
        offered = platform.normalized()
        return not self.accepted or any(_accepts(wanted, offered) for wanted in self.accepted)

    def less(self, left: Platform, right: Platform) -> bool:
        """Whether `left` is strictly preferred to `right`: the earlier in `preferred`, then the more features of the system."""
        normal_left, normal_right = left.normalized(), right.normalized()
        for wanted in self.preferred:
            takes_left, takes_right = _accepts(wanted, normal_left), _accepts(wanted, normal_right)
            if takes_left and takes_right:
                return len(left.os_features) > len(right.os_features)
            if takes_left or takes_right:
                return takes_left
        if left.os_features or right.os_features:
            return self.less(replace(left, os_features=()), replace(right, os_features=()))
        return False


def best_match(offered: Iterable[tuple[_T, Platform]], matcher: PlatformMatcher) -> _T | None:
    """What is offered for the preferred matching platform, the first of equals; None if none matches."""
    best: tuple[_T, Platform] | None = None
    for candidate in offered:
        if matcher.matches(candidate[1]) and (best is None or matcher.less(candidate[1], best[1])):
            best = candidate
    return best and best[0]


def _accepts(wanted: Platform, offered: Platform) -> bool:
    """containerd's matcher for normal forms: same system, architecture and variant, no unwanted feature, a Windows version that runs."""
    if (wanted.os, wanted.architecture, wanted.variant) != (offered.os, offered.architecture, offered.variant):
        return False
    features = set(offered.os_features)
    if wanted.os == "windows":
        features.discard("win32k")
        if not _accepts_version(wanted.os_version, offered.os_version):
            return False
    return features <= set(wanted.os_features)


def _accepts_version(wanted: str, offered: str) -> bool:
    """Whether a host of the version `wanted` runs an image of the version `offered`.

    Before Server 2022 only the same build runs, since then those back to the previous LTSC release. An empty or malformed `wanted` accepts
    everything, and an empty `offered` is accepted everywhere.
    """
    host, image = _parse_windows(wanted), _parse_windows(offered)
    if host == _NO_VERSION or not offered:
        return True
    if host[:2] != image[:2]:
        return False
    if host[2] < _LTSC_BUILDS[0]:
        return host[2] == image[2]
    generation = bisect_right(_LTSC_BUILDS, host[2]) - 1
    return _LTSC_BUILDS[max(generation - 1, 0)] <= image[2] <= host[2]


def _parse_windows(version: str) -> tuple[int, int, int]:
    match = _WINDOWS_VERSION.fullmatch(version)
    if match is None:
        return _NO_VERSION
    major, minor, build = int(match[1]), int(match[2]), int(match[3])
    return (major, minor, build) if major < 256 and minor < 256 and build < 65536 else _NO_VERSION


def _runnable(platform: Platform) -> tuple[Platform, ...]:
    """The platforms that this one runs, best first (platformVector), in normal form."""
    normal = platform.normalized()
    if normal.architecture == "amd64":
        older = [("amd64", variant) for variant in _older_variants(normal.variant, down_to=1)]
        vector = [("amd64", normal.variant), *older, ("386", "")]
    elif normal.architecture == "arm":
        vector = [("arm", normal.variant), *(("arm", variant) for variant in _older_variants(normal.variant, down_to=5))]
    elif normal.architecture == "arm64":
        vector = _arm64_vector(normal.variant or "v8")
    else:
        return (normal,)
    return tuple(replace(normal, architecture=architecture, variant=variant).normalized() for architecture, variant in vector)


def _older_variants(variant: str, *, down_to: int) -> list[str]:
    match = _VARIANT_VERSION.fullmatch(variant)
    return [f"v{version}" for version in range(int(match[1]) - 1, down_to - 1, -1)] if match else []


def _arm64_vector(variant: str) -> list[tuple[str, str]]:
    """arm64/v9.x runs v9.0 to v9.x and v8.0 to v8.(x+5); every arm64 runs 32-bit arm/v8 and below."""
    arm = "v8" if variant.startswith(("v8", "v9")) else variant
    vector = [("arm", arm), *(("arm", older) for older in _older_variants(arm, down_to=5))]
    if not _ARM64_VARIANT.fullmatch(variant):
        return vector
    minor = int(variant[3:] or "0")
    if variant.startswith("v8"):
        return [*_minor_variants(8, minor), *vector]
    return [*_minor_variants(9, minor), *_minor_variants(8, min(minor + 5, 9)), *vector]


def _minor_variants(major: int, highest: int) -> list[tuple[str, str]]:
    return [("arm64", f"v{major}.{minor}" if minor else f"v{major}") for minor in range(highest, -1, -1)]


def _parse_os_part(part: str, specifier: str) -> Platform:
    match = re.fullmatch(_OS_PART, part)
    if match is None:
        raise _invalid(
            f"{quote(part)} is an invalid OS component of {quote(specifier)}: OSAndVersion specifier component must match {quote(_OS_PART)}"
        )
    version, features = match[2] or "", (match[3] or "").split("+")[1:]
    _check_escapes(version, f"{quote(specifier)} has an invalid OS version {quote(version)}")
    for feature in features:
        _check_escapes(feature, f"{quote(specifier)} has invalid OS features: invalid os feature {quote(feature)}")
    return Platform(os=_normalize_os(match[1]), os_version=unquote(version), os_features=tuple(unquote(feature) for feature in features))


def _check_escapes(text: str, problem: str) -> None:
    if escape := escape_problem(text):
        raise InvalidParameter(f"{problem}: {escape}")


def _complete(system: Platform, specifier: str) -> Platform:
    """A single word is an operating system if it is known as one, else an architecture; this host provides the other half."""
    host = Platform.host()
    if system.os in _KNOWN_OS:
        variant = host.variant if host.architecture == "arm" and host.variant != "v7" else ""
        return replace(system, architecture=host.architecture, variant=variant)
    architecture, variant = _normalize_architecture(specifier, "")
    if architecture not in _KNOWN_ARCHITECTURES:
        raise _invalid(f"{quote(specifier)}: unknown operating system or architecture")
    variant = "" if architecture == "arm" and variant == "v7" else variant
    return replace(system, os=host.os, architecture=architecture, variant=variant)


@lru_cache(maxsize=256)
def _normalize(platform: Platform) -> Platform:
    architecture, variant = _normalize_architecture(platform.architecture, platform.variant)
    features = tuple(sorted(set(platform.os_features)))
    return Platform(_normalize_os(platform.os), architecture, variant, platform.os_version, features)


def _normalize_os(name: str) -> str:
    return {"": sys.platform, "macos": "darwin"}.get(name.lower(), name.lower())


def _normalize_architecture(architecture: str, variant: str) -> tuple[str, str]:
    architecture, variant = architecture.lower(), variant.lower()
    match architecture:
        case "i386":
            return "386", ""
        case "x86_64" | "x86-64" | "amd64":
            return "amd64", "" if variant == "v1" else variant
        case "aarch64" | "arm64":
            return "arm64", _ARM64_VARIANTS.get(variant, variant)
        case "armhf":
            return "arm", "v7"
        case "armel":
            return "arm", "v6"
        case "arm":
            return "arm", _ARM_VARIANTS.get(variant, variant)
    return architecture, variant


def _invalid(sentence: str) -> InvalidParameter:
    return InvalidParameter(f"{sentence}: invalid argument")


def amd64_level(flags: Collection[str]) -> str:
    """The highest level of a CPU with these flags: v2, v3 or v4, or "" for the lowest, which needs no name."""
    highest = ""
    for level, needed in _CPU_LEVELS:
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
