"""JSON as Go reads and writes it, objects as Go reads them into structs, and how many values a document may have."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.errors import InvalidContent
from stowage.services.oci import gojson
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.gojson import (
    MAX_VALUES,
    Fields,
    check,
    check_values,
    count_values,
    decode,
    decode_first,
    encode,
    escape_problem,
    quote,
)
from stowage.services.oci.manifest import Index, Manifest
from stowage.services.oci.mediatypes import OCI_INDEX, OCI_MANIFEST

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 63) - 1) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


def test_writing_escapes_what_go_escapes() -> None:
    text = "<a href='x'>&\u2028\u2029\"\\\b\f\n\r\t\x01\x7f\xe9\U0001f600"
    assert encode(text).decode() == ('"\\u003ca href=\'x\'\\u003e\\u0026\\u2028\\u2029\\"\\\\\\b\\f\\n\\r\\t\\u0001\x7f\xe9\U0001f600"')


def test_writing_keeps_the_order_of_keys_and_leaves_no_spaces() -> None:
    assert encode({"b": [1, None, True], "a": {}}) == b'{"b":[1,null,true],"a":{}}'


@given(values)
def test_every_value_survives_being_written_and_read(value: object) -> None:
    assert decode(encode(value)) == value
    check(encode(value))


@given(st.binary(max_size=40) | st.text(' {}[]",:\\ud8tnrue01-eE.', max_size=20).map(str.encode))
def test_any_bytes_are_refused_with_a_sentence_or_read_as_text_that_can_be_sent(raw: bytes) -> None:
    try:
        outcome = json.dumps(decode(raw), ensure_ascii=False)
    except InvalidContent as exc:
        outcome = str(exc)
    assert outcome.encode()


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        pytest.param(b"", "unexpected end of JSON input", id="empty"),
        pytest.param(b" \n", "unexpected end of JSON input", id="blank"),
        pytest.param(b"{", "unexpected end of JSON input", id="open object"),
        pytest.param(b'"abc', "unexpected end of JSON input", id="open string"),
        pytest.param(b"tru", "unexpected end of JSON input", id="open literal"),
        pytest.param(b"bad", "invalid character 'b' looking for beginning of value", id="word"),
        pytest.param(b"linux/amd64", "invalid character 'l' looking for beginning of value", id="platform specifier"),
        pytest.param(b"nope", "invalid character 'o' in literal null (expecting 'u')", id="broken literal"),
        pytest.param(b"-x", "invalid character 'x' in numeric literal", id="broken number"),
        pytest.param(b"NaN", "invalid character 'N' looking for beginning of value", id="not a number"),
        pytest.param(b"-Infinity", "invalid character 'I' in numeric literal", id="infinity"),
        pytest.param(b"'a'", r"invalid character '\'' looking for beginning of value", id="single quotes"),
        pytest.param(b'{"a"}', "invalid character '}' after object key", id="no colon"),
        pytest.param(b'{"a":1 "b":2}', "invalid character '\"' after object key:value pair", id="no comma in object"),
        pytest.param(b'{"a":[1 2]}', "invalid character '2' after array element", id="no comma in array"),
        pytest.param(b'["]", {"a":[]} 2]', "invalid character '2' after array element", id="no comma after brackets"),
        pytest.param(b'{"a":1,}', "invalid character '}' looking for beginning of object key string", id="comma at end of object"),
        pytest.param(b"[1, ]", "invalid character ']' looking for beginning of value", id="comma at end of array"),
        pytest.param(b"{1:2}", "invalid character '1' looking for beginning of object key string", id="number as key"),
        pytest.param(b"{} {}", "invalid character '{' after top-level value", id="two values"),
        pytest.param(b'"a\nb"', r"invalid character '\n' in string literal", id="newline in string"),
        pytest.param(b'"\\x"', "invalid character 'x' in string escape code", id="unknown escape"),
        pytest.param("é".encode(), "invalid character 'Ã' looking for beginning of value", id="first byte of a character"),
        pytest.param(b"\xef\xbb\xbf{}", "invalid character 'ï' looking for beginning of value", id="byte order mark"),
        pytest.param(b"[" * 100_000, "exceeded max depth", id="deep nesting"),
        pytest.param(b'{"a":' * 100_000, "exceeded max depth", id="deep nesting of objects"),
        pytest.param(b"9" * 10_000, "json: number out of range", id="endless number"),
    ],
)
def test_broken_json_is_refused_in_gos_words(raw: bytes, sentence: str) -> None:
    for read in (decode, check):
        with pytest.raises(InvalidContent) as caught:
            read(raw)
        assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(rb'"\ud800"', "\ufffd", id="high alone"),
        pytest.param(rb'"\uDC00x"', "\ufffdx", id="low alone"),
        pytest.param(rb'"\\\ud800"', "\\\ufffd", id="high alone after an escaped backslash"),
        pytest.param(rb'"\ud83d\\\ude00"', "\ufffd\\\ufffd", id="pair that an escaped backslash parts"),
        pytest.param(rb'"\n\ud83d\ude00\ude00"', "\n\U0001f600\ufffd", id="low after pair"),
        pytest.param(rb'"\ud83d\ude00"', "\U0001f600", id="pair"),
        pytest.param(rb'"\ud83d\ud83d\ude00"', "\ufffd\U0001f600", id="high before pair"),
        pytest.param(rb'"\ude00\ude00"', "\ufffd\ufffd", id="two low"),
        pytest.param(rb'"\u0041\ude00"', "A\ufffd", id="low after character"),
        pytest.param(rb'"\\ud800"', "\\ud800", id="escaped backslash"),
        pytest.param(b'"a\xffb"', "a\ufffdb", id="broken utf-8"),
    ],
)
def test_text_that_is_no_unicode_is_replaced(raw: bytes, text: str) -> None:
    assert decode(raw) == text


def test_a_quoted_byte_that_is_no_utf8_is_shown_as_go_shows_it() -> None:
    assert quote(b'a\xffb"'.decode("utf-8", "surrogateescape")) == r'"a\xffb\""'


GROWTH = """
import resource, sys
from stowage.services.errors import InvalidContent
from stowage.services.oci.gojson import decode

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

raw = b'["' + eval(sys.argv[1]) + b'" 1]'
before = peak()
try:
    decode(raw)
except InvalidContent as exc:
    print(peak() - before, exc)
"""


@pytest.mark.parametrize("text", ["b'x' * (4 << 20)", r"b'\\x' * (2 << 20)".replace("x", '"')], ids=["plain", "escaped"])
def test_a_long_string_costs_little_where_the_document_breaks_behind_it(text: str) -> None:
    """In a process of its own, as only the peak of a process can be seen."""
    done = subprocess.run([sys.executable, "-c", GROWTH, text], capture_output=True, text=True, check=True)
    kibibytes, _, sentence = done.stdout.partition(" ")
    assert sentence == "invalid character '1' after array element\n"
    assert int(kibibytes) < 64 << 10


def test_the_last_of_two_equal_keys_counts_unless_they_must_be_unique() -> None:
    assert decode(b'{"a":1,"a":2}') == {"a": 2}
    assert decode(b'{"b":1,"b":2}', unique=("a",)) == {"b": 2}
    with pytest.raises(InvalidContent, match='key "a" occurs twice in one object'):
        decode(b'[{"x":{"a":1,"A":2}}]', unique=("a",))


@pytest.mark.parametrize("raw", [b'{"a":1}', b' \n{"a":1} ', b'{"a":1}{', b'{"a":1}\xff', b'{"a":1}<html>'])
def test_the_first_value_is_read_whatever_comes_behind_it(raw: bytes) -> None:
    assert decode_first(raw) == {"a": 1}


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        pytest.param(b"", "EOF", id="empty"),
        pytest.param(b" \n", "EOF", id="blank"),
        pytest.param(b'{"a":', "unexpected EOF", id="open object"),
        pytest.param(b"tru", "unexpected EOF", id="open literal"),
        pytest.param(b"<html>", "invalid character '<' looking for beginning of value", id="page"),
    ],
)
def test_a_first_value_that_is_none_is_refused_in_the_words_of_gos_decoder(raw: bytes, sentence: str) -> None:
    with pytest.raises(InvalidContent) as caught:
        decode_first(raw)
    assert str(caught.value) == sentence


def test_escapes_beside_a_surrogate_are_not_looked_at_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[object] = []
    replace = gojson._replace_lone

    def counting(row: re.Match[str]) -> str:
        looked_at.append(row)
        return replace(row)

    monkeypatch.setattr(gojson, "_replace_lone", counting)
    assert decode(rb'"\ud83d' + rb"\\\n" * 10_000 + b'"') == "\ufffd" + "\\\n" * 10_000
    assert len(looked_at) == 1


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        pytest.param(b'{"a": [1, 2], "b": ","}', 5, id="few values, with those in strings"),
        pytest.param(b'["' + b"," * 2000 + b'"]', 1, id="many, without"),
        pytest.param(b"[" + b"1," * 2000 + b"1]", 2001, id="many"),
        pytest.param(rb'["\ud83d\ude00\u0026\uD800"]', 4, id="surrogates"),
    ],
)
def test_values_are_counted(raw: bytes, values: int) -> None:
    assert count_values(raw) == values


def test_the_exact_spelling_of_a_key_comes_before_any_other_case() -> None:
    fields = Fields({"NAME": "other", "name": "exact", "Size": 3}, "Thing")
    assert fields.text("name") == "exact"
    assert fields.integer("size") == 3
    assert "SIZE" in fields
    assert "absent" not in fields


def test_null_is_absent_but_there() -> None:
    fields = Fields({"a": None, "list": [None, "x"], "map": {"k": None}}, "Thing")
    assert "a" in fields
    assert fields.text("a") == ""
    assert fields.integer("a") == 0
    assert fields.boolean("a") is False
    assert fields.texts("a") is None
    assert fields.text_mapping("a") is None
    assert fields.members("a") is None
    assert fields.texts("list") == ("", "x")
    assert fields.text_mapping("map") == {"k": ""}


@pytest.mark.parametrize(
    ("method", "value", "kind", "wanted"),
    [
        ("text", 1, "number", "string"),
        ("text", {}, "object", "string"),
        ("integer", "1", "string", "int64"),
        ("integer", True, "bool", "int64"),
        ("integer", 1.0, "number", "int64"),
        ("integer", 1 << 63, "number", "int64"),
        ("boolean", 0, "number", "bool"),
        ("array", {}, "object", "array"),
        ("texts", "x", "string", "[]string"),
        ("texts", [[]], "array", "string"),
        ("mapping", [], "array", "object"),
        ("text_mapping", {"a": 1}, "number", "string"),
        ("members", "x", "string", "object"),
    ],
)
def test_a_member_of_another_type_is_refused(method: str, value: object, kind: str, wanted: str) -> None:
    with pytest.raises(InvalidContent) as caught:
        getattr(Fields({"member": value}, "Thing"), method)("member")
    assert str(caught.value) == f"json: cannot unmarshal {kind} into Go struct field Thing.member of type {wanted}"


@pytest.mark.parametrize(("value", "kind"), [(None, "null"), ([], "array"), ("x", "string"), (1.5, "number"), (True, "bool")])
def test_what_is_no_object_is_refused(value: object, kind: str) -> None:
    with pytest.raises(InvalidContent, match=f"^json: cannot unmarshal {kind} into Go value of type Thing$"):
        Fields(value, "Thing")


MANY = b"{}," * MAX_VALUES + b"{}"


@pytest.mark.parametrize(
    "read",
    [
        pytest.param(lambda: ImageConfig.parse(b'{"history":[%b]}' % MANY), id="config"),
        pytest.param(lambda: Manifest.parse(b'{"layers":[%b]}' % MANY, OCI_MANIFEST), id="manifest"),
        pytest.param(lambda: Index.parse(b'{"manifests":[%b]}' % MANY, OCI_INDEX), id="index"),
    ],
)
def test_too_many_values_are_refused_before_any_is_made(read: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stowage.services.oci.gojson._load", lambda *_: pytest.fail("decoded"))
    with pytest.raises(InvalidContent, match="more than 131072 values$"):
        read()


def test_a_large_honest_config_is_read() -> None:
    text = 'RUN {"a": [1, 2, "\\"", ","]}, ' * 20
    labels = {f"label.{number}": "long, {[\\" * 20 for number in range(10_000)}
    history = [{"created": "2024-01-01T00:00:00Z", "created_by": text, "comment": "c", "empty_layer": True}] * 1000
    config = ImageConfig.parse(json.dumps({"config": {"Labels": labels, "Env": ["A=1"] * 1000}, "history": history}).encode())
    assert (config.container.labels, len(config.history), config.history[-1].created_by) == (labels, 1000, text)


@pytest.mark.parametrize(
    ("raw", "values"),
    [
        (b"[]", 1),
        (b"[1,2]", 2),
        (b'{"a":{},"b":[{}]}', 5),
        (b'["{[,", "\\\\", "\\",", ","]', 4),
        (b'[{ "open {[, \\', 2),
        (b'[{ "open {[, \\"', 2),
        (b"1", 0),
    ],
)
def test_values_are_counted_outside_of_strings(raw: bytes, values: int) -> None:
    check_values(raw, values)
    if values:
        with pytest.raises(InvalidContent, match=f"^a JSON document has more than {values - 1} values$"):
            check_values(raw, values - 1)


@pytest.mark.parametrize("raw", [b"," * 8 + b'\\"' * 500_000, b"," * 8 + b'"' * 1_000_001, b"," * 8 + b" " * 1_000_000])
def test_strings_without_end_are_looked_at_once(raw: bytes) -> None:
    with pytest.raises(InvalidContent):
        check_values(raw, 7)
    check_values(raw, 8)
    with pytest.raises(InvalidContent, match="^invalid character"):
        decode(raw)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param("a%20b%C3%bc%25", "", id="escapes"),
        pytest.param("a%zz%", 'invalid URL escape "%zz"', id="first of two"),
        pytest.param("a%2", 'invalid URL escape "%2"', id="cut short"),
        pytest.param("a%", 'invalid URL escape "%"', id="alone"),
        pytest.param('%"ab', r'invalid URL escape "%\"a"', id="quotation mark"),
        pytest.param("%\nab", r'invalid URL escape "%\na"', id="line break"),
    ],
)
def test_a_percent_sign_needs_two_hexadecimal_digits(text: str, problem: str) -> None:
    assert escape_problem(text) == problem
