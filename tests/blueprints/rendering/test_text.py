"""Text that anyone may have written, as HTML that shows it and nothing else."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.blueprints.rendering.text import LIMIT, named, plain, shown


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("team/app:1", "<bdi>team/app:1</bdi>"),
        ("<script>alert(1)</script>", "<bdi>&lt;script&gt;alert(1)&lt;/script&gt;</bdi>"),
        ("a\u202eb", '<bdi>a<span class="escape">\\u202e</span>b</bdi>'),
        ("a\nb\x00", '<bdi>a<span class="escape">\\n</span>b<span class="escape">\\x00</span></bdi>'),
        ("half \ud83d", '<bdi>half <span class="escape">\\ud83d</span></bdi>'),
        ("\U000e0041", '<bdi><span class="escape">\\U000e0041</span></bdi>'),
        ("שלום 🚢", "<bdi>שלום 🚢</bdi>"),
        (7, "<bdi>7</bdi>"),
    ],
)
def test_text_shows_as_what_it_is(text: object, markup: str) -> None:
    assert str(shown(text)) == markup


@pytest.mark.parametrize(
    ("name", "markup"),
    [
        ("127.0.0.1:5155/acme/shop:3", "127.0.0.1<wbr>:5155/<wbr>acme/<wbr>shop<wbr>:3"),
        ("app@sha256:1", "app<wbr>@sha256<wbr>:1"),
        ("a/<b>\u202e:", 'a/<wbr>&lt;b&gt;<span class="escape">\\u202e</span><wbr>:'),
    ],
)
def test_a_name_breaks_at_its_slashes_and_colons(name: str, markup: str) -> None:
    assert str(named(name)) == f'<bdi class="name">{markup}</bdi>'


def test_a_long_text_is_cut_and_says_how_long_it_was() -> None:
    label = "x" * 10_000_000
    assert str(shown(label)) == f'<bdi>{"x" * LIMIT}</bdi><span class="cut">… 10,000,000 characters</span>'
    assert str(named(label)).endswith('</bdi><span class="cut">… 10,000,000 characters</span>')
    assert plain(label, 5) == "xxxxx…"


@given(st.text(st.characters(), max_size=40))
def test_nothing_of_a_text_is_markup(text: str) -> None:
    markup = str(shown(text))
    markup.encode()
    inside = markup.removeprefix("<bdi>").removesuffix("</bdi>")
    bare = re.sub(r'<span class="escape">(.*?)</span>', r"\1", inside)
    assert "<" not in bare and html.unescape(bare) == plain(text)


@given(st.text(st.characters(), max_size=40))
def test_an_attribute_has_one_line_without_marks_of_direction(text: str) -> None:
    assert not re.search("[\x00-\x1f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", plain(text))
