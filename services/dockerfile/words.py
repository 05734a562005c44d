"""Quotes, escapes, variables and patterns inside the words of an instruction, as a shell would read them.

    $NAME  ${NAME}                          the value, empty when unset
    ${NAME-word}  ${NAME+word}  ${NAME?word}   with a colon also if the value is empty
    ${NAME#pattern} ## % %%                 without the shortest or longest matching prefix or suffix
    ${NAME/pattern/text} //                 the first or every match replaced

In a pattern `*` is any text, `?` one character, and `\\` takes `*?\\` literally.

Source: buildkit frontend/dockerfile/shell/lex.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby

from stowage.services.errors import InvalidParameter
from stowage.services.oci.gojson import quote

SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
"""Go's unicode.IsSpace; Python's str.isspace also counts four ASCII separators."""


MAX_EXPANDED = 1 << 20
"""How many characters the variables and paths of one import may expand to; doubling one line by line would otherwise fill the memory.

A pattern counts too, and so does the text in which it is searched, since the result may be empty: once, once more for each 64 characters of
the pattern, and once more for each `?`.
"""

_PATTERN_CHARACTERS = 64
_SPECIAL_PARAMETERS = "@*#?-$!0"
_END = "\ufffd"


class Expander:
    """Expands words with one escape character, within one limit."""

    def __init__(self, escape: str) -> None:
        self._escape = escape
        self._left = MAX_EXPANDED

    def word(self, text: str, environment: Mapping[str, str]) -> str:
        """The text expanded and without its quotes (ProcessWord); raises InvalidParameter."""
        return self._read(text, environment)[0]

    def words(self, text: str, environment: Mapping[str, str]) -> list[str]:
        """The same, split at unquoted spaces, including those of a value (ProcessWords)."""
        return self._read(text, environment)[1]

    def spend(self, characters: int) -> None:
        """Count characters that were made without a variable; raises InvalidParameter if there are too many."""
        self._left = _spent(self._left, characters)

    def _read(self, text: str, environment: Mapping[str, str]) -> tuple[str, list[str]]:
        reader = _Reader(text, self._escape, environment, self._left)
        try:
            result = reader.read_until("")
        except InvalidParameter as exc:
            raise InvalidParameter(f"failed to process {quote(text)}: {exc}") from exc
        except RecursionError as exc:
            raise InvalidParameter("failed to process a word: variables are nested too deeply") from exc
        self._left = reader.left
        return result, reader.words


class _Reader:
    """Reads one text from left to right; `left` is how many characters the values may still add."""

    def __init__(self, text: str, escape: str, environment: Mapping[str, str], left: int) -> None:
        self._text = text
        self._escape = escape
        self._environment = environment
        self._position = 0
        self.left = left
        self.words: list[str] = []

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _next(self) -> str:
        character = self._peek()
        self._position += 1
        return character

    @property
    def _at_end(self) -> bool:
        return self._position >= len(self._text)

    def read_until(self, stop: str, *, keep_escapes: bool = False) -> str:
        """Read to the character `stop`, which is consumed, or to the end if `stop` is empty."""
        result: list[str] = []
        split = _Splitter()
        while not self._at_end:
            character = self._next()
            if stop and character == stop:
                return "".join(result)
            result.append(self._read_piece(character, split, keep_escapes))
        if stop:
            raise InvalidParameter(f"unexpected end of statement while looking for matching {stop}")
        self.words = split.finish()
        return "".join(result)

    def _read_piece(self, character: str, split: _Splitter, keep_escapes: bool) -> str:
        if character == "$":
            piece = self._dollar()
            split.add(piece)
            return piece
        if character == "'":
            piece = self._single_quoted()
        elif character == '"':
            piece = self._double_quoted(keep_escapes)
        elif character == self._escape:
            piece = (character if keep_escapes else "") + self._next()
        else:
            split.add(character)
            return character
        split.add_unsplit(piece)
        return piece

    def _single_quoted(self) -> str:
        end = self._text.find("'", self._position)
        if end < 0:
            raise InvalidParameter("unexpected end of statement while looking for matching single-quote")
        quoted = self._text[self._position : end]
        self._position = end + 1
        return quoted

    def _double_quoted(self, keep_escapes: bool) -> str:
        result: list[str] = []
        while not self._at_end:
            character = self._next()
            if character == '"':
                return "".join(result)
            if character == "$":
                result.append(self._dollar())
            elif character == self._escape:
                result.append(self._escaped_in_quotes(keep_escapes))
            else:
                result.append(character)
        raise InvalidParameter("unexpected end of statement while looking for matching double-quote")

    def _escaped_in_quotes(self, keep_escapes: bool) -> str:
        kept = self._escape if keep_escapes else ""
        if self._at_end:
            return kept
        if self._peek() in ('"', "$", self._escape):
            return kept + self._next()
        return kept + self._escape

    def _dollar(self) -> str:
        if self._peek() != "{":
            name = self._name()
            return self._spend(self._environment.get(name, "")) if name else "$"
        self._next()
        if self._at_end:
            raise InvalidParameter("syntax error: missing '}'")
        if self._peek() in "{}:":
            raise InvalidParameter("syntax error: bad substitution")
        return self._spend(self._braced(self._name()))

    def _spend(self, value: str) -> str:
        self.left = _spent(self.left, len(value))
        return value

    def _searched(self, name: str, pattern: str) -> str:
        """A variable's value, in which a pattern will be searched; counted before the pattern is parsed."""
        value = self._environment.get(name, "")
        self.left = _spent(self.left, len(pattern) + len(value) * (1 + len(pattern) // _PATTERN_CHARACTERS + pattern.count("?")))
        return value

    def _name(self) -> str:
        start = self._position
        first = self._peek()
        if first.isdecimal():
            while self._peek().isdecimal():
                self._position += 1
        elif first and first in _SPECIAL_PARAMETERS:
            self._position += 1
        else:
            while (character := self._peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self._position += 1
        return self._text[start : self._position]

    def _braced(self, name: str) -> str:
        modifier = self._next()
        if modifier == "}":
            return self._environment.get(name, "")
        if modifier == "/":
            return self._replaced(name)
        colon = modifier == ":"
        operator = self._next() if colon else modifier
        if not colon and operator not in ("+", "-", "?", "#", "%"):
            raise _unsupported(operator or _END)
        if colon and operator in ("#", "%"):
            raise _unsupported(":" + operator)
        word = self._argument("}", "}", keep_escapes=operator in ("#", "%"))
        if operator in ("#", "%"):
            return _trimmed(self._searched(name, word), operator, word)
        return self._alternative(name, operator, word, empty_is_unset=colon)

    def _argument(self, stop: str, missing: str, *, keep_escapes: bool) -> str:
        try:
            return self.read_until(stop, keep_escapes=keep_escapes)
        except InvalidParameter as exc:
            if self._at_end:
                raise InvalidParameter(f"syntax error: missing '{missing}'" + (" in ${}" if missing == "/" else "")) from exc
            raise

    def _alternative(self, name: str, operator: str, word: str, *, empty_is_unset: bool) -> str:
        value = self._environment.get(name)
        is_set = bool(value) if empty_is_unset else value is not None
        if operator == "-":
            return value or "" if is_set else word
        if operator == "+":
            return word if is_set else ""
        if operator != "?":
            raise _unsupported(":" + (operator or _END))
        if not is_set:
            raise InvalidParameter(f"{name}: {word or 'is not allowed to be ' + ('unset' if value is None else 'empty')}")
        return value or ""

    def _replaced(self, name: str) -> str:
        every = self._peek() == "/"
        if every:
            self._next()
        wanted = self._argument("/", "/", keep_escapes=True)
        value = self._searched(name, wanted)
        pattern = Glob(wanted)
        text = self._argument("}", "}", keep_escapes=True)
        if every:
            return _replace_every(pattern, value, text, self.left)
        found = pattern.search(value, 0)
        return value[: found[0]] + text + value[found[1] :] if found else value


class _Splitter:
    """Gathers the words of a text while it is expanded; a word without any character does not count."""

    def __init__(self) -> None:
        self._current: list[str] = []
        self._words: list[str] = []

    def add(self, text: str) -> None:
        for character in text:
            if character in SPACE:
                self.finish()
            else:
                self._current.append(character)

    def add_unsplit(self, text: str) -> None:
        self._current.append(text)

    def finish(self) -> list[str]:
        word = "".join(self._current)
        if word:
            self._words.append(word)
        self._current.clear()
        return self._words


def _spent(left: int, characters: int) -> int:
    if characters > left:
        raise InvalidParameter(f"variables and paths expand to more than {MAX_EXPANDED} characters")
    return left - characters


def _unsupported(modifier: str) -> InvalidParameter:
    return InvalidParameter(f"unsupported modifier ({modifier}) in substitution")


def _trimmed(value: str, operator: str, word: str) -> str:
    longest = word.startswith(operator)
    pattern = word[1:] if longest else word
    if operator == "#":
        length = Glob(pattern).prefix(value, longest=longest)
        return value[length or 0 :]
    length = Glob(pattern, backwards=True).prefix(value[::-1], longest=longest)
    return value[: len(value) - (length or 0)]


def _replace_every(pattern: Glob, value: str, text: str, limit: int) -> str:
    """Replace all matches as Go's regexp does: an empty match right after another match does not count."""
    result: list[str] = []
    position = 0
    previous_end = -1
    while position <= len(value) and (found := pattern.search(value, position)):
        start, end = found
        result.append(value[position:start])
        if end > start or start != previous_end:
            result.append(text)
        if end == start:
            result.append(value[end : end + 1])
        previous_end, position = end, end + (end == start)
        _spent(2 * limit, len(result) * len(text))
    result.append(value[position:])
    return "".join(result)


_TOKEN = re.compile(r"\\(.?)|[^\\]", re.DOTALL)
_STAR = "*"
_ANY = "?"


class Glob:
    """A parsed pattern. Raises InvalidParameter on an escape of anything but `*`, `?`, `\\`, `/` and `}`."""

    def __init__(self, pattern: str, *, backwards: bool = False) -> None:
        tokens = [_token(match, pattern) for match in _TOKEN.finditer(pattern)]
        if backwards:
            tokens.reverse()
        self._first, *self._rest = map(_Piece, _split(tokens))

    def prefix(self, text: str, *, longest: bool) -> int | None:
        """The length of the shortest or longest prefix that the pattern matches."""
        return self._end(text, self._first.length, longest=longest) if self._first.matches(text, 0) else None

    def search(self, text: str, start: int) -> tuple[int, int] | None:
        """Start and end of the leftmost longest match at or after `start`."""
        found = self._first.find(text, start)
        if found < 0:
            return None
        end = self._end(text, found + self._first.length, longest=True)
        return None if end is None else (found, end)

    def _end(self, text: str, position: int, *, longest: bool) -> int | None:
        for index, piece in enumerate(self._rest, start=1):
            is_last = index == len(self._rest)
            found = piece.find_last(text, position) if longest and is_last else piece.find(text, position)
            if found < 0:
                return None
            position = found + piece.length
        return position


class _Piece:
    """Tokens without a star: literal runs between question marks, of which the longest is looked for first."""

    def __init__(self, tokens: Sequence[str]) -> None:
        self.length = len(tokens)
        self._tokens = tokens
        self._runs: list[tuple[int, str]] = []
        position = 0
        for is_any, run in groupby(tokens, _ANY.__eq__):
            literal = "".join(token[-1] for token in run)
            if not is_any:
                self._runs.append((position, literal))
            position += len(literal)
        self._offset, self._longest = max(self._runs, key=lambda run: len(run[1]), default=(0, ""))

    def matches(self, text: str, position: int) -> bool:
        """Whether the piece matches here."""
        return position + self.length <= len(text) and all(text.startswith(run, position + offset) for offset, run in self._runs)

    def find(self, text: str, start: int) -> int:
        """The first position from `start` at which the piece matches, or -1."""
        found = start + self._offset - 1
        while (found := text.find(self._longest, found + 1)) >= 0 and found - self._offset + self.length <= len(text):
            if self.matches(text, found - self._offset):
                return found - self._offset
        return -1

    def find_last(self, text: str, start: int) -> int:
        """The last such position. `str.rfind` may take quadratic time; `str.find` does not."""
        found = _Piece(self._tokens[::-1]).find(text[start:][::-1], 0)
        return -1 if found < 0 else len(text) - found - self.length


def _split(tokens: Sequence[str]) -> list[list[str]]:
    """The tokens between the stars; one list more than there are stars."""
    pieces: list[list[str]] = [[]]
    for token in tokens:
        if token == _STAR:
            pieces.append([])
        else:
            pieces[-1].append(token)
    return pieces


def _token(match: re.Match[str], pattern: str) -> str:
    """`*`, `?`, or a literal character after a backslash."""
    text = match[0]
    if text in (_STAR, _ANY):
        return text
    if text.startswith("\\") and match[1] not in ("*", "?", "\\", "/", "}"):
        escape = match[1] or "\ufffd"
        raise InvalidParameter(f"invalid pattern ({pattern}) in substitution: invalid escape '\\{escape}'")
    return "\\" + text[-1]
