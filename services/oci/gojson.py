"""JSON as Go's encoding/json reads and writes it, where the bytes or words of an answer depend on it.

Writing: no spaces; `<`, `>`, `&`, U+2028 and U+2029 are escaped; other text is UTF-8. The order of keys is the dict's: callers must sort
what is a map in Go.

Reading: UTF-8 in which broken sequences and lone surrogates become U+FFFD, no NaN, no byte order mark, nesting bounded. A syntax error is
reported in Go's words, which reach the client ("invalid character 'b' looking for beginning of value"). `Fields` reads an object as Go
reads it into a struct.

`quote` and `escape_problem` are Go's words about other text.

Source: Go encoding/json (encode.go, scanner.go, decode.go); net/url (unescape, EscapeError).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from typing import NoReturn

from stowage.services.errors import InvalidContent

MAX_VALUES = 1 << 17
"""The limit for a manifest, an index or a config, roughly. The largest real ones have about ten thousand values. In 4 MiB there is room for
a million, each of which takes 50 times its bytes in memory, and much time.
"""

_FEW_VALUES = 1 << 10
"""How many values are counted quickly, as if strings had values too."""

_VALUE_BYTES = 120
"""Memory for a value while a text is decoded, roughly, besides its characters."""
_SURROGATE_BYTES = 200
"""Memory for an escaped surrogate while a row of them is looked at."""

_WRITE_ESCAPED = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
_SURROGATES = re.compile(r"\\(?<!\\\\)((?:\\\\)*+)(u[dD][89a-fA-F][0-9a-fA-F]{2}(?:\\u[dD][89a-fA-F][0-9a-fA-F]{2})*+)")
"""Escaped surrogates in a row, after an odd number of backslashes: after an even one the first `u` is no escape. The pattern begins with a
backslash, so that a search skips other text fast.
"""
_SURROGATE = re.compile(r"(\\u[dD][89abAB]..\\u[dD][c-fC-F]..)|\\u....")
"""In such a row: a pair, or one that is alone."""
_BEYOND_BMP = re.compile(rb"[\xf0-\xff]")
_BYTE = re.compile("[\udc80-\udcff]")
"""A byte that is not valid UTF-8, as text (PEP 383)."""
_UP_TO_VALUE = re.compile(rb'(?:[^"{\[,]++|"(?:[^"\\]++|\\.)*+(?:"|\\?\Z))*+(?:([{\[,])|\Z)', re.DOTALL)
"""Up to where a value begins, roughly, past strings. An unterminated string extends to the end, so that no byte is examined twice."""
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_INT64 = range(-(1 << 63), 1 << 63)
_LITERALS = ("true", "false", "null")
_ENDS_EARLY = "unexpected end of JSON input"
_CONTEXTS = {
    "Extra data": "after top-level value",
    "Expecting property name": "looking for beginning of object key string",
    "Illegal trailing comma before end of object": "looking for beginning of object key string",
    "Expecting ':' delimiter": "after object key",
    "Invalid control character": "in string literal",
    "Invalid \\": "in string escape code",
}


def encode(value: object) -> bytes:
    """The bytes that Go's json.Marshal writes for these dicts, lists, strings, integers, booleans and None."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _WRITE_ESCAPED.sub(_write_escape, text).encode()


def quote(text: str) -> str:
    """The text in double quotes, as Go's %q shows it in errors; bytes that are not UTF-8 (surrogates in the text) as `\\xff`."""
    return _BYTE.sub(lambda found: f"\\x{ord(found[0]) & 0xFF:02x}", json.dumps(text, ensure_ascii=False))


def escape_problem(text: str) -> str:
    """Go's error about the first `%` without two hexadecimal digits after it; empty if there is none."""
    found = _BAD_ESCAPE.search(text)
    return f"invalid URL escape {quote(found[0])}" if found else ""


def decode(raw: bytes, *, unique: Collection[str] = (), most: int = MAX_VALUES) -> object:
    """Read one JSON value; raises InvalidContent, in Go's words, or because it has more than `most` values, which is checked first.

    A key of `unique` (lower case) that occurs twice in one object, in any spelling, is refused; elsewhere the last one counts.
    """

    def build(pairs: list[tuple[str, object]]) -> dict[str, object]:
        built = dict(pairs)
        if unique:
            _refuse_twice([key.casefold() for key, _ in pairs], unique)
        return built

    check_values(raw, most)
    return _load(raw, build)


def decode_first(raw: bytes, *, most: int = MAX_VALUES) -> object:
    """Read the first JSON value and nothing after it, like Go's Decoder; raises InvalidContent, `EOF` if there is none.

    If the value is cut off, the error is `unexpected EOF`. The text may have `most` values, which is checked first.
    """
    text = raw.lstrip(b" \t\r\n")
    if not text:
        raise InvalidContent("EOF")
    check_values(text, most)
    try:
        return _load(text, dict, whole=False)
    except InvalidContent as exc:
        raise InvalidContent(str(exc).replace(_ENDS_EARLY, "unexpected EOF")) from exc


def check(raw: bytes) -> None:
    """Raise as `decode` does, with a fraction of its memory: no object is kept."""
    _load(raw, lambda _: None)


def decode_memory(raw: bytes, *, most: int = MAX_VALUES, each: int = _VALUE_BYTES) -> int:
    """Bytes of memory that decoding a text with no more than `most` values takes, roughly: its characters twice, as they are and in
    strings, `each` for a value, and the parts of a text whose surrogates are looked at.
    """
    values = min(most_values(raw), most)
    return 2 * character_bytes(raw) * len(raw) + each * values + _SURROGATE_BYTES * _surrogates(raw)


def character_bytes(raw: bytes | bytearray) -> int:
    """Bytes of memory that each character of a text takes once it is decoded: as many as the widest one needs (PEP 393)."""
    if _BEYOND_BMP.search(raw) or _surrogates(raw):
        return 4
    return 1 if raw.isascii() and b"\\u" not in raw else 2


def _surrogates(raw: bytes | bytearray) -> int:
    """How many surrogates are escaped, roughly."""
    return raw.count(b"\\ud") + raw.count(b"\\uD")


def check_values(raw: bytes, most: int) -> None:
    """Raise InvalidContent if the text has more than `most` values, roughly; every opening bracket and every comma counts.

    Takes linear time and almost no memory.
    """
    if most_values(raw) > most and next(islice(_values(raw), most, None), None) is not None:
        raise InvalidContent(f"a JSON document has more than {most} values")


def count_values(raw: bytes) -> int:
    """How many values the text has, roughly; an escaped surrogate costs as much as a value, and counts too."""
    values = most_values(raw)
    if values > _FEW_VALUES:
        values = sum(1 for _ in _values(raw))
    return values + _surrogates(raw)


def most_values(raw: bytes) -> int:
    """At most so many values has the text, roughly: a quick count, which includes what looks like a value in strings."""
    return sum(map(raw.count, (b"{", b"[", b",")))


def _values(raw: bytes) -> Iterator[re.Match[bytes]]:
    return (found for found in _UP_TO_VALUE.finditer(raw) if found[1])


def _load(raw: bytes, build: Callable[[list[tuple[str, object]]], object], *, whole: bool = True) -> object:
    """The value at the beginning of the text, or the one that is all of it."""
    text = _without_lone_surrogates(raw.decode("utf-8", "replace"))
    decoder = json.JSONDecoder(object_pairs_hook=build, parse_constant=_refuse_constant)
    try:
        value: object = decoder.decode(text) if whole else decoder.raw_decode(text)[0]
    except json.JSONDecodeError as exc:
        raise InvalidContent(_words(exc)) from exc
    except RecursionError as exc:
        raise InvalidContent("exceeded max depth") from exc
    except ValueError as exc:
        raise InvalidContent("json: number out of range") from exc
    return value


def _refuse_twice(keys: list[str], unique: Collection[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen and key in unique:
            raise InvalidContent(f"json: key {quote(key)} occurs twice in one object")
        seen.add(key)


def _refuse_constant(name: str) -> NoReturn:
    context = "in numeric literal" if name.startswith("-") else "looking for beginning of value"
    raise InvalidContent(f"invalid character '{name.removeprefix('-')[0]}' {context}")


def _write_escape(match: re.Match[str]) -> str:
    character = match[0]
    return "\\ufffd" if "\ud800" <= character <= "\udfff" else f"\\u{ord(character):04x}"


def _without_lone_surrogates(text: str) -> str:
    return _SURROGATES.sub(_replace_lone, text) if "\\ud" in text or "\\uD" in text else text


def _replace_lone(row: re.Match[str]) -> str:
    return row[1] + _SURROGATE.sub(lambda found: found[1] or "\\ufffd", "\\" + row[2])


def _words(error: json.JSONDecodeError) -> str:
    """Go's sentence for where Python's decoder stopped."""
    text, position, context = error.doc, error.pos, _context(error)
    if context == "in string escape code":
        position += 1
    elif context != "in string literal":
        position += error.msg.startswith("Illegal trailing comma")
        position += len(text[position:]) - len(text[position:].lstrip(" \t\r\n"))
    if error.msg.startswith("Unterminated string"):
        position = len(text)
    if error.msg.startswith("Expecting value") and position < len(text):
        return _value_words(text, position)
    return _broken(text, position, context)


def _value_words(text: str, position: int) -> str:
    """The words for a value that did not start, or that broke off inside a literal or a number."""
    for literal in _LITERALS:
        for length in range(len(literal) - 1, 0, -1):
            if text.startswith(literal[:length], position):
                return _broken(text, position + length, f"in literal {literal} (expecting '{literal[length]}')")
    if text[position] == "-":
        return _broken(text, position + 1, "in numeric literal")
    return _broken(text, position, "looking for beginning of value")


def _broken(text: str, position: int, context: str) -> str:
    return f"invalid character {_character(text[position])} {context}" if position < len(text) else _ENDS_EARLY


def _context(error: json.JSONDecodeError) -> str:
    if error.msg.startswith("Expecting ',' delimiter"):
        return "after array element" if _inside_array(error.doc[: error.pos]) else "after object key:value pair"
    for beginning, context in _CONTEXTS.items():
        if error.msg.startswith(beginning):
            return context
    return "looking for beginning of value"


def _inside_array(text: str) -> bool:
    """Whether the innermost open bracket of this valid beginning of a document is an array's."""
    brackets: list[str] = []
    for bracket in re.sub(r'"(?:[^"\\]++|\\.)*+"', "", text, flags=re.DOTALL):  # possessive: no memory of where each character began
        if bracket in "[{":
            brackets.append(bracket)
        elif bracket in "]}":
            brackets.pop()
    return brackets[-1:] == ["["]


def _character(character: str) -> str:
    """The first byte of a character, as Go's scanner, which sees bytes, names it."""
    byte = chr(character.encode()[0])
    return {"'": "'\\''", '"': "'\"'"}.get(byte, f"'{quote(byte)[1:-1]}'")


class Fields:
    """The members of one object: keys in any case (the exact spelling first), null as absent.

    Each method raises InvalidContent if the member has another type. With a list of `mismatches`, the problem is added to it instead, and
    the member is read as Go leaves it: as if it was absent, an element of an array or object as its zero value.
    """

    __slots__ = ("_folded", "_members", "_mismatches", "_where")

    def __init__(self, value: object, where: str, mismatches: list[str] | None = None) -> None:
        """`where` names the object in errors."""
        self._mismatches = mismatches
        if not isinstance(value, Mapping):
            self.refuse(unmarshal_error(value, where))
        self._members: Mapping[str, object] = value if isinstance(value, Mapping) else {}
        self._where = where
        self._folded: dict[str, object] | None = None

    def __contains__(self, name: str) -> bool:
        """Whether the key is present, null or not."""
        return name in self._members or name.casefold() in self._fold()

    def value(self, name: str) -> object:
        """The member as it is; None when absent or null."""
        if name in self._members:
            return self._members[name]
        return self._fold().get(name.casefold())

    def text(self, name: str) -> str:
        value = self.value(name)
        return "" if value is None else self._as_text(name, value)

    def integer(self, name: str) -> int:
        value = self.value(name)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value not in _INT64:
            self._mismatch(name, value, "int64")
            return 0
        return value

    def boolean(self, name: str) -> bool:
        value = self.value(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            self._mismatch(name, value, "bool")
            return False
        return value

    def array(self, name: str, wanted: str = "array") -> list[object] | None:
        """`wanted` is the Go type that errors name."""
        value = self.value(name)
        if value is not None and not isinstance(value, list):
            self._mismatch(name, value, wanted)
            return None
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An array of strings; a null element is the empty string."""
        array = self.array(name, "[]string")
        return None if array is None else tuple("" if item is None else self._as_text(name, item) for item in array)

    def mapping(self, name: str) -> Mapping[str, object] | None:
        value = self.value(name)
        if value is not None and not isinstance(value, Mapping):
            self._mismatch(name, value, "object")
            return None
        return value

    def text_mapping(self, name: str) -> dict[str, str] | None:
        """An object whose members are strings; a null member is the empty string."""
        mapping = self.mapping(name)
        return None if mapping is None else {key: "" if item is None else self._as_text(name, item) for key, item in mapping.items()}

    def members(self, name: str) -> Fields | None:
        """An object that is itself read by its fields."""
        mapping = self.mapping(name)
        return None if mapping is None else Fields(mapping, f"{self._where}.{name}", self._mismatches)

    def elements(self, name: str, where: str) -> list[Fields]:
        """An array of objects, each read by its fields and named `where` in errors; a null element is an empty one."""
        return [Fields({} if item is None else item, where, self._mismatches) for item in self.array(name) or ()]

    def refuse(self, problem: InvalidContent) -> None:
        """Raise the problem, or note it."""
        if self._mismatches is None:
            raise problem
        self._mismatches.append(str(problem))

    def _as_text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            self._mismatch(name, value, "string")
            return ""
        return value

    def _fold(self) -> dict[str, object]:
        if self._folded is None:
            self._folded = {key.casefold(): value for key, value in self._members.items()}
        return self._folded

    def _mismatch(self, name: str, value: object, wanted: str) -> None:
        self.refuse(InvalidContent(f"json: cannot unmarshal {_kind(value)} into Go struct field {self._where}.{name} of type {wanted}"))


def unmarshal_error(value: object, wanted: str) -> InvalidContent:
    """The error for a document or an element that does not have the Go type `wanted`."""
    return InvalidContent(f"json: cannot unmarshal {_kind(value)} into Go value of type {wanted}")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
