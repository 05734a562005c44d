"""Filters and globs as moby reads them."""

from __future__ import annotations

import json
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidParameter
from stowage.services.filters import Filters, compile_glob, parse_integer


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        pytest.param("", {}, id="empty"),
        pytest.param("{}", {}, id="no filters"),
        pytest.param("null", {}, id="null"),
        pytest.param('{"label":{"a":true,"b=c":true}}', {"label": {"a": True, "b=c": True}}, id="map"),
        pytest.param('{"label":["a","b=c"]}', {"label": {"a": True, "b=c": True}}, id="array"),
        pytest.param('{"dangling":{"true":false}}', {"dangling": {"true": False}}, id="false value"),
        pytest.param('{"a":null}', {"a": {}}, id="null values"),
        pytest.param('{"a":{"b":null}}', {"a": {"b": False}}, id="null truth"),
        pytest.param('{"a":["x",null],"b":null}', {"a": {"x": True, "": True}, "b": {}}, id="null in array"),
        pytest.param('{"a":{}}', {"a": {}}, id="no values"),
        pytest.param('{"\\ud800":["\\udc00"]}', {"\ufffd": {"\ufffd": True}}, id="lone surrogates"),
    ],
)
def test_both_forms_are_read(text: str, fields: dict[str, dict[str, bool]]) -> None:
    assert Filters.parse(text).fields == fields


@pytest.mark.parametrize(
    "text",
    [
        "{", "[]", '"a"', "1", "true", "{} {}", "dangling=true", '{"a":"b"}', '{"a":1}', '{"a":{"b":1}}', '{"a":{"b":"true"}}', '{"a":[1]}',
        '{"a":["x"],"b":{"y":true}}', "[" * 60_000,
    ],
)  # fmt: skip
def test_anything_else_is_an_invalid_filter(text: str) -> None:
    with pytest.raises(InvalidParameter, match=r"^invalid filter$"):
        Filters.parse(text)


@given(st.dictionaries(st.text(max_size=4), st.dictionaries(st.text(max_size=4), st.booleans(), max_size=3), max_size=3))
def test_every_filter_survives_being_written_and_read(fields: dict[str, dict[str, bool]]) -> None:
    filters = Filters.parse(json.dumps(fields))
    assert filters.fields == fields
    assert all(name in filters and filters.get(name) == tuple(fields[name]) for name in fields)


def test_an_unaccepted_name_is_told() -> None:
    filters = Filters.parse('{"dangling":["true"],"nosuch":["1"]}')
    filters.validate({"dangling", "nosuch"})
    with pytest.raises(InvalidParameter, match=r"^invalid filter 'nosuch'$"):
        filters.validate({"dangling"})


def test_a_filter_without_values_was_sent_all_the_same() -> None:
    filters = Filters.parse('{"label":{}}')
    assert "label" in filters
    assert filters.get("label") == ()
    assert "until" not in filters
    assert filters.get("until") == ()


def test_filters_are_changed_by_making_new_ones() -> None:
    filters = Filters.parse('{"label":["a"]}')
    assert filters.adding("label", "b").adding("reference", "x*").fields == {"label": {"a": True, "b": True}, "reference": {"x*": True}}
    assert filters.without("label") == Filters()
    assert filters.without("other") == filters
    assert filters.get("label") == ("a",)


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("{}", True, True),
        ("{}", False, False),
        ('{"dangling":["true"]}', False, True),
        ('{"dangling":["1"]}', False, True),
        ('{"dangling":["false"]}', True, False),
        ('{"dangling":["0"]}', True, False),
        ('{"dangling":["1","true"]}', False, True),
        ('{"dangling":["true","banana"]}', False, True),
        ('{"dangling":{"true":true,"false":false}}', False, True),
    ],
)
def test_a_truth_is_read(text: str, default: bool, expected: bool) -> None:
    assert Filters.parse(text).boolean("dangling", default) is expected


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"dangling":{}}', "invalid filter 'dangling'"),
        ('{"dangling":["banana"]}', "invalid filter 'dangling=[banana]'"),
        ('{"dangling":["true","0"]}', "invalid filter 'dangling=[true 0]'"),
        ('{"dangling":{"true":false}}', "invalid filter 'dangling=[true]'"),
        ('{"dangling":["TRUE"]}', "invalid filter 'dangling=[TRUE]'"),
    ],
)
def test_neither_true_nor_false_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        Filters.parse(text).boolean("dangling", True)
    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("debian", "debian", True),
        ("debian", "debian:12", False),
        ("deb*", "debian:12", True),
        ("deb*:*", "debian:12", True),
        ("*", "user/name", False),
        ("*/*", "user/name", True),
        ("*/name", "user/name", True),
        ("us?r/*", "user/name", True),
        ("user?name", "user/name", False),
        ("user[/]name", "user/name", True),
        ("[a-c]x", "bx", True),
        ("[^a-c]x", "bx", False),
        ("[^a-c]x", "dx", True),
        ("[z-a]x", "bx", False),
        ("[^z-a]x", "bx", True),
        ("[a^]", "^", True),
        ("[[]", "[", True),
        (r"[\]]", "]", True),
        (r"[\a-\c]", "b", True),
        (r"a\*", "a*", True),
        (r"a\*", "ab", False),
        ("a]b", "a]b", True),
        ("a.c", "abc", False),
        ("", "", True),
        ("*a*b*c", "xaybzc", True),
        ("*a*b*c", "xaybz", False),
        ("a**b", "axyb", True),
        ("*ab", "aab", True),
    ],
)
def test_a_glob_matches_as_in_go(pattern: str, name: str, matches: bool) -> None:
    glob = compile_glob(pattern)
    assert glob is not None
    assert (glob.fullmatch(name) is not None) is matches


@pytest.mark.parametrize("pattern", ["[a", "[]", "[]a]", "[^]", "[^-a]", "[-]", "[a-]", "[a-", "a\\", "[\\", "[", "*[", "[a]["])
def test_a_malformed_glob_is_none(pattern: str) -> None:
    assert compile_glob(pattern) is None


def test_many_stars_do_not_take_exponential_time() -> None:
    glob = compile_glob("*a" * 200 + "b")
    assert glob is not None
    assert glob.fullmatch("a" * 5_000) is None


@given(st.text("ab/*?[]^-\\:.", max_size=12), st.text("ab/:.", max_size=12))
def test_a_glob_of_any_text_is_malformed_or_can_be_tried(pattern: str, name: str) -> None:
    glob = compile_glob(pattern)
    assert glob is None or glob.fullmatch(name) is None or len(name) <= 12


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_an_integer_is_read_back(number: int) -> None:
    assert parse_integer(str(number)) == number


@pytest.mark.parametrize(("text", "number"), [("+5", 5), ("-0", 0), ("007", 7)])
def test_an_integer_may_have_a_sign_and_zeros(text: str, number: int) -> None:
    assert parse_integer(text) == number


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "invalid syntax", id="empty"),
        pytest.param("0x1", "invalid syntax", id="hexadecimal"),
        pytest.param("1_000", "invalid syntax", id="underscore"),
        pytest.param(" 1", "invalid syntax", id="space"),
        pytest.param("\u0665", "invalid syntax", id="other digits"),
        pytest.param("9223372036854775808", "value out of range", id="one too many"),
        pytest.param("-9223372036854775809", "value out of range", id="one too few"),
        pytest.param("9" * 5000, "value out of range", id="endless"),
    ],
)
def test_no_integer_is_told_in_gos_words(text: str, problem: str) -> None:
    with pytest.raises(InvalidParameter) as caught:
        parse_integer(text)
    assert str(caught.value) == f'strconv.Atoi: parsing "{text}": {problem}'


def test_filters_and_globs_longer_than_anyone_needs_are_refused_with_a_sentence() -> None:
    assert Filters.parse(json.dumps({"label": ["a" * 4096] * 15})).get("label")
    with pytest.raises(InvalidParameter, match=r"^invalid filter: \d+ characters, more than 65536; use fewer filters at a time$"):
        Filters.parse(json.dumps({"label": ["a" * (64 << 10)]}))
    with pytest.raises(InvalidParameter, match=r"^invalid filter: 1001 values, more than 1000; use fewer filters at a time$"):
        Filters.parse(json.dumps({"label": ["a"], "before": [f"b{number}" for number in range(1000)]}))
    assert compile_glob("*a" * 512)
    with pytest.raises(InvalidParameter, match=r"^invalid filter: a pattern of 1026 characters, more than 1024$"):
        compile_glob("*a" * 513)


def test_no_glob_of_a_client_is_kept() -> None:
    kept = [weakref.ref(glob) for number in range(20) if (glob := compile_glob(f"{number}*a*a"))]
    del glob
    assert [reference() for reference in kept] == [None] * 20
