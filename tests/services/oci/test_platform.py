"""Platforms: both text forms, the normal form, what is preferred to what, and levels of x86-64 from the flags of a CPU."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidContent, InvalidParameter
from stowage.services.oci.platform import Platform, PlatformMatcher, amd64_level, read_flags

HOST = Platform.host()


@pytest.mark.parametrize(
    ("specifier", "platform"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("Linux/X86_64", Platform("linux", "amd64")),
        ("linux/x86-64", Platform("linux", "amd64")),
        ("linux/amd64/v1", Platform("linux", "amd64")),
        ("linux/amd64/v3", Platform("linux", "amd64", "v3")),
        ("linux/i386", Platform("linux", "386")),
        ("linux/arm", Platform("linux", "arm")),
        ("linux/armhf", Platform("linux", "arm")),
        ("linux/armel", Platform("linux", "arm", "v6")),
        ("linux/arm/v7", Platform("linux", "arm", "v7")),
        ("linux/arm/6", Platform("linux", "arm", "v6")),
        ("linux/arm64", Platform("linux", "arm64")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8")),
        ("linux/arm64/8", Platform("linux", "arm64", "v8")),
        ("linux/arm64/v9.0", Platform("linux", "arm64", "v9")),
        ("macos/arm64", Platform("darwin", "arm64")),
        ("nosuch/machine", Platform("nosuch", "machine")),
        ("arm64", Platform(HOST.os, "arm64")),
        ("armhf", Platform(HOST.os, "arm")),
        ("windows", Platform("windows", HOST.architecture)),
        ("windows(10.0.17763)/amd64", Platform("windows", "amd64", os_version="10.0.17763")),
        ("windows(10.0.17763+win32k+b)/amd64", Platform("windows", "amd64", "", "10.0.17763", ("win32k", "b"))),
        ("windows(+win32k)/amd64", Platform("windows", "amd64", os_features=("win32k",))),
        ("linux(a%2Bb)/amd64", Platform("linux", "amd64", os_version="a+b")),
    ],
)
def test_a_specifier_is_read_as_containerd_reads_it(specifier: str, platform: Platform) -> None:
    assert Platform.parse(specifier) == platform


COMPONENT = 'platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument'
OS_PART = (
    'OSAndVersion specifier component must match "^([A-Za-z0-9_-]+)(?:\\\\(([A-Za-z0-9_.%-]*)((?:\\\\+[A-Za-z0-9_.%-]+)*)\\\\))?$": '
    "invalid argument"
)


@pytest.mark.parametrize(
    ("specifier", "sentence"),
    [
        ("", f'"" is an invalid OS component of "": {OS_PART}'),
        ("lin ux/amd64", f'"lin ux" is an invalid OS component of "lin ux/amd64": {OS_PART}'),
        ("linux/amd64\n", f'"amd64\\n" is an invalid component of "linux/amd64\\n": {COMPONENT}'),
        ("linux/", f'"" is an invalid component of "linux/": {COMPONENT}'),
        ("bogus", '"bogus": unknown operating system or architecture: invalid argument'),
        ("linux/*", '"linux/*": wildcards not yet supported: invalid argument'),
        ("a/b/c/d", '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        ("linux(1%z)/amd64", '"linux(1%z)/amd64" has an invalid OS version "1%z": invalid URL escape "%z"'),
        ("linux(+f%)/x", '"linux(+f%)/x" has invalid OS features: invalid os feature "f%": invalid URL escape "%"'),
    ],
)
def test_a_malformed_specifier_is_refused_in_containerds_words(specifier: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Platform.parse(specifier)
    assert str(caught.value) == sentence


def test_the_json_form() -> None:
    written = {"architecture": "amd64", "os": "windows", "os.version": "10.0.1", "os.features": ["win32k"], "variant": "v2"}
    platform = Platform("windows", "amd64", "v2", "10.0.1", ("win32k",))
    assert Platform.from_json(written) == platform
    assert list(platform.to_json().items()) == list(written.items())
    assert Platform().to_json() == {"architecture": "", "os": ""}
    assert Platform.from_json({"OS": "linux", "Architecture": "arm64", "variant": None, "other": 1}) == Platform("linux", "arm64")


@pytest.mark.parametrize("written", [{"os": 1}, {"architecture": []}, {"os.features": "a"}, {"os.features": [1]}])
def test_the_json_form_with_other_types_is_refused(written: dict[str, object]) -> None:
    with pytest.raises(InvalidContent, match="cannot unmarshal"):
        Platform.from_json(written)


@pytest.mark.parametrize(
    ("platform", "text"),
    [
        (Platform("linux", "arm", "v7"), "linux/arm/v7"),
        (Platform("linux"), "linux"),
        (Platform("", "amd64"), "unknown"),
        (Platform("windows", "amd64", os_version="10.0.1"), "windows(10.0.1)/amd64"),
        (Platform("windows", "amd64", "", "10.0.1", ("b", "a", "a", "")), "windows(10.0.1+a+b)/amd64"),
        (Platform("windows", "amd64", os_features=("a",)), "windows(+a)/amd64"),
        (Platform("linux", "amd64", os_version="a+b/(%)"), "linux(a%2Bb%2F%28%25%29)/amd64"),
    ],
)
def test_the_text_form(platform: Platform, text: str) -> None:
    assert str(platform) == text


@pytest.mark.parametrize(
    ("platform", "normal"),
    [
        (Platform("Linux", "AArch64", "V8"), Platform("linux", "arm64")),
        (Platform("linux", "arm"), Platform("linux", "arm", "v7")),
        (Platform("linux", "i386", "x"), Platform("linux", "386")),
        (Platform("", "amd64", "v1"), Platform(HOST.os, "amd64")),
        (Platform("linux", "x", "Y", "1", ("b", "a", "b")), Platform("linux", "x", "y", "1", ("a", "b"))),
    ],
)
def test_the_normal_form(platform: Platform, normal: Platform) -> None:
    assert platform.normalized() == normal


words = st.from_regex(r"\A[a-z0-9_-]{1,8}\Z")


@given(st.builds(Platform, words, words, st.just("") | words, st.text("a.+(/)%é", max_size=5)))
def test_the_text_form_of_a_normal_platform_is_read_back(platform: Platform) -> None:
    normal = platform.normalized()
    assert normal.normalized() == normal
    if normal.os_version.isascii():
        assert Platform.parse(str(normal)).normalized() == normal


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("x86_64", ("amd64", "")),
        ("AMD64", ("amd64", "")),
        ("aarch64", ("arm64", "v8")),
        ("arm64", ("arm64", "v8")),
        ("armv7l", ("arm", "v7")),
        ("armv6l", ("arm", "v6")),
        ("i686", ("386", "")),
        ("riscv64", ("riscv64", "")),
        ("loongarch64", ("loong64", "")),
    ],
)
def test_the_hosts_platform(monkeypatch: pytest.MonkeyPatch, machine: str, expected: tuple[str, str]) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    host = Platform.host()
    assert (host.architecture, host.variant) == expected


@pytest.mark.parametrize(
    ("wanted", "accepted"),
    [
        ("linux/amd64", ["linux/amd64", "linux/386"]),
        ("linux/amd64/v3", ["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"]),
        ("linux/386", ["linux/386"]),
        ("linux/arm", ["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm/v5", ["linux/arm/v5"]),
        ("linux/arm64", ["linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v8.1", ["linux/arm64/v8.1", "linux/arm64", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/arm64/v9.8", ["linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
        ("linux/riscv64", ["linux/riscv64"]),
    ],
)
def test_a_platform_takes_what_it_can_run_best_first(wanted: str, accepted: list[str]) -> None:
    matcher = PlatformMatcher.only(Platform.parse(wanted))
    assert [str(platform) for platform in matcher.accepted] == accepted
    assert all(matcher.matches(Platform.parse(text)) for text in accepted)
    assert not matcher.matches(Platform("linux", "s390x"))
    assert not matcher.matches(Platform("freebsd", "amd64"))


def test_arm64_v9_runs_v8_up_to_five_minors_further() -> None:
    matcher = PlatformMatcher.only(Platform("linux", "arm64", "v9.2"))
    assert matcher.matches(Platform("linux", "arm64", "v8.7"))
    assert not matcher.matches(Platform("linux", "arm64", "v8.8"))
    assert not matcher.matches(Platform("linux", "arm64", "v9.3"))


def test_a_strict_match_takes_one_platform_in_any_spelling() -> None:
    matcher = PlatformMatcher.only_strict(Platform("linux", "arm64"))
    assert matcher.matches(Platform("linux", "aarch64", "v8"))
    assert not matcher.matches(Platform("linux", "arm", "v7"))
    assert not PlatformMatcher.only_strict(Platform("linux", "amd64")).matches(Platform("linux", "386"))


def test_any_platform_is_ordered_by_what_the_host_runs() -> None:
    matcher = PlatformMatcher.any_of((), Platform("linux", "amd64"))
    offers = [Platform("linux", "arm64"), Platform("linux", "386"), Platform("linux", "amd64"), Platform("unknown", "unknown")]

    def compare(left: Platform, right: Platform) -> int:
        return matcher.less(right, left) - matcher.less(left, right)

    assert all(matcher.matches(offer) for offer in offers)
    ordered = sorted(offers, key=functools.cmp_to_key(compare))
    assert [str(offer) for offer in ordered] == ["linux/amd64", "linux/386", "linux/arm64", "unknown/unknown"]


def test_a_list_of_platforms_takes_each_of_them_alone() -> None:
    matcher = PlatformMatcher.any_of((Platform("linux", "aarch64"), Platform("linux", "s390x")), Platform("linux", "amd64"))
    assert matcher.matches(Platform("linux", "arm64", "v8"))
    assert matcher.matches(Platform("linux", "s390x"))
    assert not matcher.matches(Platform("linux", "amd64"))


def test_features_of_the_system_must_be_wanted_and_the_more_of_them_the_better() -> None:
    matcher = PlatformMatcher.only(Platform("linux", "amd64", os_features=("a", "b")))
    plain, one, two = (Platform("linux", "amd64", os_features=features) for features in ((), ("a",), ("b", "a")))
    assert all(matcher.matches(offer) for offer in (plain, one, two))
    assert not matcher.matches(Platform("linux", "amd64", os_features=("a", "c")))
    assert matcher.less(two, one)
    assert matcher.less(one, plain)
    assert not matcher.less(plain, one)


def test_without_a_match_features_do_not_count() -> None:
    matcher = PlatformMatcher.any_of((), Platform("linux", "amd64"))
    featured, foreign = Platform("linux", "amd64", os_features=("x",)), Platform("linux", "s390x")
    assert matcher.less(featured, foreign)
    assert not matcher.less(foreign, featured)


@pytest.mark.parametrize(
    ("host", "offered", "runs"),
    [
        ("", "10.0.17763.1", True),
        ("10.0", "10.0.17763.1", True),
        ("10.0.17763", "", True),
        ("10.0.17763.1000", "10.0.17763.2", True),
        ("10.0.17763", "10.0.20348", False),
        ("10.0.20348", "10.0.17763", False),
        ("10.0.22621", "10.0.20348", True),
        ("10.0.20348", "10.0.22621", False),
        ("10.0.26100", "10.0.20348", True),
        ("10.0.26200", "10.0.20348", True),
        ("10.0.26100", "10.0.17763", False),
        ("10.0.26100", "11.0.26100", False),
        ("10.0.26100", "ten", False),
        ("10.0.99999", "10.0.17763", True),
    ],
)
def test_a_windows_host_runs_images_of_its_generation(host: str, offered: str, runs: bool) -> None:
    matcher = PlatformMatcher.only(Platform("windows", "amd64", os_version=host))
    assert matcher.matches(Platform("windows", "amd64", os_version=offered, os_features=("win32k",))) is runs


@pytest.mark.parametrize("member", [{"os": "x" * 4097}, {"variant": "x" * 4097}, {"os.features": ["x" * 41] * 100}])
def test_a_platform_is_short(member: dict[str, object]) -> None:
    with pytest.raises(InvalidContent, match="^platform has more than 4096 characters$"):
        Platform.from_json(member)


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
    monkeypatch.setattr("stowage.services.oci.platform._CPUINFO", told)
    assert read_flags() == {"fpu", "cx16"}


def test_a_system_that_tells_no_flags_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("stowage.services.oci.platform._CPUINFO", tmp_path / "missing")
    assert read_flags() == frozenset()
