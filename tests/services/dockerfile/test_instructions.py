"""Dockerfile instructions of an import against what real engines made of them.

changes_answers.json holds answers of Debian's Docker Engine 26.1.5, those that buildkit's parser in moby's main branch gives as well; where
the two differ, the tables below hold main's answer.
"""

from __future__ import annotations

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.dockerfile import apply_changes
from stowage.services.dockerfile.words import Glob
from stowage.services.errors import InvalidParameter
from stowage.services.oci.manifest import MAX_MANIFEST_BYTES

ANSWERS = json.loads((Path(__file__).parent / "changes_answers.json").read_text())
PIECES = [
    "CMD ",
    "ENV A=",
    "LABEL ",
    "EXPOSE ",
    "HEALTHCHECK ",
    "ONBUILD ",
    "\n",
    " ",
    "\\",
    "'",
    '"',
    "$",
    "{",
    "}",
    ":-",
    "#",
    "/",
    "[",
    "<<E",
    "--x=",
    "é",
    "80",
]


def outcome(changes: list[str], os: str = "linux") -> object:
    """The configuration as JSON, or the error's sentence."""
    try:
        return apply_changes(changes, os=os).to_json()
    except InvalidParameter as exc:
        return str(exc)


@pytest.mark.parametrize("row", [pytest.param(row, id=row["id"]) for row in ANSWERS])
def test_answers_as_a_real_engine(row: dict[str, Any]) -> None:
    assert outcome(row["changes"]) == row.get("config", row.get("error"))


@pytest.mark.parametrize(
    ("change", "error"),
    [
        pytest.param("CMD --foo=1 echo", "unknown flag: --foo", id="cmd flag"),
        pytest.param("ENV --x=1 A=b", "unknown flag: --x", id="env flag"),
        pytest.param("USER --x bob", "unknown flag: --x", id="user flag"),
        pytest.param("ONBUILD --x=1 RUN y", "unknown flag: --x", id="onbuild flag"),
        pytest.param("HEALTHCHECK --interval CMD x", "missing a value on flag: --interval", id="flag without value"),
        pytest.param("HEALTHCHECK --intervall=5s CMD x", "unknown flag: --intervall (did you mean interval?)", id="flag with a typo"),
        pytest.param("HEALTHCHECK --zzzzzz=5s CMD x", "unknown flag: --zzzzzz", id="unknown flag"),
        pytest.param("HEALTHCHECK --retries=1 --retries=2 CMD x", "duplicate flag specified: --retries", id="flag twice"),
        pytest.param("EXPOSE abc", "invalid containerPort: abc", id="port word"),
        pytest.param("EXPOSE 65536", "invalid containerPort: 65536", id="port too large"),
        pytest.param("EXPOSE -1", "invalid containerPort: -1", id="port negative"),
        pytest.param("EXPOSE +80", "invalid containerPort: +80", id="port with sign"),
        pytest.param("EXPOSE 90-80", "invalid containerPort: 90-80", id="range backwards"),
        pytest.param("EXPOSE 80-", "invalid containerPort: 80-", id="range open"),
        pytest.param("EXPOSE 1-2-3", "invalid containerPort: 1-2-3", id="range of three"),
        pytest.param("EXPOSE 80/foo", "invalid proto: foo", id="protocol"),
        pytest.param("EXPOSE 80/tcp/udp", "invalid proto: tcp/udp", id="two protocols"),
        pytest.param("EXPOSE /tcp", "no port specified: /tcp<empty>", id="no port"),
        pytest.param("EXPOSE x:80", "invalid hostPort: x", id="host port"),
        pytest.param("EXPOSE 1-3:80-81", "invalid ranges specified for container and host Ports: 80-81 and 1-3", id="range lengths"),
        pytest.param("EXPOSE 1.2.3:8:80", 'invalid IP address: ParseAddr("1.2.3"): unable to parse IP', id="address"),
        pytest.param("EXPOSE [::1:8:80", "invalid IP address [::1: address [::1:: missing ']' in address", id="bracket"),
        pytest.param("ENV A=${Z:#x}", 'failed to process "${Z:#x}": unsupported modifier (:#) in substitution', id="colon and pattern"),
        pytest.param("USER\nRUN y", "USER requires exactly one argument", id="first error first"),
        pytest.param("# check=a\n# check=b\nCMD a", "only one check parser directive can be used", id="directive twice"),
        pytest.param("CMD " + "x" * 70_000, "file with no instructions", id="long first line"),
        pytest.param("CMD x\nCMD " + "x" * 70_000, "dockerfile line greater than max allowed size of 65535", id="long line"),
    ],
)
def test_refuses_as_the_main_branch(change: str, error: str) -> None:
    assert outcome([change]) == error


def test_text_after_a_json_array_makes_it_a_shell_command() -> None:
    assert outcome(['CMD ["a"] x']) == {"Cmd": ["/bin/sh", "-c", '["a"] x']}


def test_a_default_in_the_middle_of_a_port_keeps_what_stands_before_it() -> None:
    assert outcome(["EXPOSE 80${A:-1} ${B:-90}-${C:-91}"]) == {"ExposedPorts": {"801/tcp": {}, "90/tcp": {}, "91/tcp": {}}}


def test_every_port_can_be_exposed_at_once() -> None:
    assert len(apply_changes(["EXPOSE 0-65535"], os="linux").exposed_ports or ()) == 65536


def test_every_port_of_every_protocol_fits_into_a_config() -> None:
    every = apply_changes(["EXPOSE 0-65535 0-65535/udp 0-65535/sctp"], os="linux")
    assert len(every.exposed_ports or ()) == 3 * 65536
    assert len(json.dumps(every.to_json())) < MAX_MANIFEST_BYTES


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("EXPOSE" + " 1-65535" * 60, id="the same"),
        pytest.param("EXPOSE" + " 1-65535:1-65535" * 60, id="with host ports"),
        pytest.param("EXPOSE " + " ".join(f"{first}-65535" for first in range(1, 61)), id="overlapping"),
        pytest.param('ENV A="' + "1-65535 " * 60 + '"\nEXPOSE $A', id="of a variable"),
    ],
)
def test_ranges_of_ports_do_not_multiply(change: str) -> None:
    tracemalloc.start()
    try:
        ports = apply_changes([change], os="linux").exposed_ports or {}
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert set(ports) == {f"{port}/tcp" for port in range(1, 65536)}
    assert peak < 40 << 20


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 4), st.sampled_from(["tcp", "udp"])), min_size=1, max_size=8))
def test_ranges_are_exposed_as_their_ports_are(ranges: list[tuple[int, int, str]]) -> None:
    change = "EXPOSE " + " ".join(f"{first}-{first + more}/{protocol}" for first, more, protocol in ranges)
    ports = {f"{port}/{protocol}" for first, more, protocol in ranges for port in range(first, first + more + 1)}
    assert list(apply_changes([change], os="linux").exposed_ports or ()) == sorted(ports)


def test_no_changes_are_an_empty_configuration() -> None:
    assert outcome([]) == {}


def test_windows_has_its_own_shell_and_no_stop_signal() -> None:
    assert outcome(["CMD dir"], os="windows") == {"Cmd": ["cmd", "/S", "/C", "dir"]}
    assert outcome(["STOPSIGNAL 9"], os="windows") == "The daemon on this platform does not support the command stopsignal"


def test_variables_cannot_fill_the_memory() -> None:
    doubling = ["ENV A=" + "x" * 100, *["ENV A=$A$A"] * 60]
    assert "variables and paths expand to more than 1048576 characters" in str(outcome(doubling))


def test_a_replacement_cannot_fill_the_memory() -> None:
    changes = ["ENV A=" + "x" * 60_000, "ENV A=$A$A$A$A", "ENV B=${A//x/" + "y" * 60_000 + "}"]
    assert "variables and paths expand to more than 1048576 characters" in str(outcome(changes))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("ENV B=${A//a/}", id="replaced by nothing"),
        pytest.param("ENV B=${A/b/c}", id="not found"),
        pytest.param("ENV B=${A##*b}", id="no prefix"),
        pytest.param("ENV B=${A%b}", id="no suffix"),
        pytest.param("ENV B=${C#$A}", id="a pattern on an unset variable"),
        pytest.param("ENV B=${C/$A/}", id="a pattern to replace in an unset variable"),
        pytest.param("WORKDIR " + "a" * 10_000, id="a folder below the last"),
    ],
)
def test_what_is_looked_through_again_and_again_is_counted(change: str) -> None:
    assert "variables and paths expand to more than 1048576 characters" in str(outcome(["ENV A=" + "a" * 60_000, *[change] * 18]))


@pytest.mark.parametrize("pattern", ["a?" * 3_000, "?a" * 20, "a" * 2_000])
def test_a_long_pattern_counts_for_more(pattern: str) -> None:
    changes = ["ENV A=" + "a" * 60_000, f"ENV B=${{A/{pattern}b/}}"]
    assert "variables and paths expand to more than 1048576 characters" in str(outcome(changes))


@pytest.mark.timeout(10)  # blanks that were tried in every length took 20 seconds here
def test_blanks_in_a_directive_do_not_multiply() -> None:
    value = "x" + " " * 65_000 + "y"
    assert (
        outcome([f"# syntax={value}\n# check={value}\n# escape={value}\nCMD a"]) == f"invalid escape token '{value}' does not match ` or \\"
    )


@pytest.mark.parametrize(("text", "token"), [(" ` \t", None), ("   ", " "), ("`x ", "`x")])
def test_blanks_around_a_directive_are_none_of_it(text: str, token: str | None) -> None:
    error = f"invalid escape token '{token}' does not match ` or \\"
    assert outcome([f"# escape ={text}\nENV A=`$B"]) == (error if token else {"Env": ["A=$B"]})


def test_deeply_nested_variables_are_refused() -> None:
    assert outcome(["ENV a=" + "${a:-" * 5_000]) == "failed to process a word: variables are nested too deeply"


def test_deeply_nested_json_is_refused() -> None:
    assert outcome(["CMD " + "[" * 30_000]) == "when using JSON array syntax, arrays must be comprised of strings only"


@pytest.mark.parametrize("length", [1, 40_000])
def test_stars_of_a_pattern_do_not_multiply(length: int) -> None:
    assert Glob("*a" * 12 + "b").prefix("a" * length, longest=True) is None


def continued(start: str, text: str, end: str = "") -> str:
    """A line of any length, in lines that are not too long."""
    return start + "\\\n".join(text[at : at + 60_000] for at in range(0, len(text), 60_000)) + end


@pytest.mark.timeout(10)  # one of 2,000,000 took a minute, on an unset variable
@pytest.mark.parametrize("start", ["ENV A=${B#", "ENV A=${B%", "ENV A=${B##", "ENV A=${B/"])
def test_a_long_pattern_is_parsed_in_linear_time(start: str) -> None:
    end = "/}" if start.endswith("/") else "}"
    assert outcome([continued(start, "x?*" * 80_000, end)]) == {"Env": ["A="]}


def test_no_regular_expression_is_made_of_a_pattern(monkeypatch: pytest.MonkeyPatch) -> None:
    def compiled(*_: object) -> None:
        raise AssertionError  # and kept: 512 of them, of any size

    monkeypatch.setattr("re._compile", compiled)
    assert Glob("a*b?").prefix("axbcbd", longest=True) == 6


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param([continued("EXPOSE ", "1 " * 140_000)], id="ports"),
        pytest.param([continued("LABEL ", "a= " * 90_000)], id="labels"),
        pytest.param([continued("CMD [", "[]," * 90_000, "[]]")], id="arrays"),
        pytest.param(["USER a"] * 40_000, id="instructions"),
    ],
)
def test_changes_that_are_too_long_are_refused_before_they_are_read(changes: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.dockerfile.instructions.parse_dockerfile", None)
    assert outcome(changes) == "the changes have more than 262144 characters together: shorten them, or build the image instead"


TEXTS = st.text(alphabet="ab", max_size=12)
PATTERNS = st.lists(st.sampled_from(["a", "b", "*", "?", "\\*", "ab"]), max_size=6).map("".join)


@given(TEXTS, PATTERNS, st.booleans())
def test_a_pattern_matches_as_its_regular_expression(text: str, pattern: str, longest: bool) -> None:
    regular = re.sub(r"\\\*|\*|\?", lambda found: {"*": ".*" if longest else ".*?", "?": "."}.get(found[0], r"\*"), pattern)
    prefix, found = re.match(regular, text), re.search(re.sub(r"\.\*\?", ".*", regular), text)
    assert Glob(pattern).prefix(text, longest=longest) == (prefix.end() if prefix else None)
    assert Glob(pattern).search(text, 0) == (found.span() if found else None)


@given(st.lists(st.lists(st.sampled_from(PIECES), max_size=12).map("".join), max_size=4))
def test_whatever_it_reads_it_answers_or_refuses(changes: list[str]) -> None:
    answer = outcome(changes)
    assert json.loads(json.dumps(answer)) == answer


@given(st.text(alphabet="abc ", max_size=20))
def test_a_quoted_value_comes_back_as_it_was(value: str) -> None:
    assert apply_changes([f'ENV A="{value}"', 'LABEL b="$A"'], os="linux").labels == {"b": value}
