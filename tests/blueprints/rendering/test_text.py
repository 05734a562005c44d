"""Text that anyone may have written, as HTML that shows it and nothing else; sizes and times as Docker's CLI writes them."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.blueprints.rendering.text import LIMIT, age, instruction, named, percent, plain, shown, size, when

DAY = 86400


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


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"), (999, "999B"), (1000, "1kB"), (1234, "1.23kB"), (99_950, "100kB"), (124_000_000, "124MB"), (1_500_000_000, "1.5GB"),
        (999_600, "1000kB"), (2 * 10**24, "2YB"), (5 * 10**27, "5000YB"),
    ],
)  # fmt: skip
def test_a_size_has_three_digits(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "less than a second ago"), (1, "1 second ago"), (59, "59 seconds ago"), (60, "about a minute ago"), (150, "2 minutes ago"),
        (3600, "about an hour ago"), (47 * 3600, "47 hours ago"), (47.6 * 3600, "2 days ago"), (13.9 * DAY, "13 days ago"),
        (15 * DAY, "2 weeks ago"), (70 * DAY, "2 months ago"), (800 * DAY, "2 years ago"),
    ],
)  # fmt: skip
def test_an_age_is_rounded_as_by_docker(seconds: float, text: str) -> None:
    assert age(1000, 1000 + seconds) == text


def test_years_beyond_calendars_have_no_date() -> None:
    assert (when(0), when(1 << 60), when(-(1 << 60))) == ("1970-01-01T00:00:00Z", "", "")


@pytest.mark.parametrize(
    ("created_by", "line"),
    [
        ('/bin/sh -c #(nop)  CMD ["sh"]', 'CMD ["sh"]'),
        ("/bin/sh -c make  all", "RUN make  all"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("COPY . /srv # buildkit", "COPY . /srv"),
        ("", ""),
    ],
)
def test_a_step_is_the_line_that_made_it(created_by: str, line: str) -> None:
    assert instruction(created_by) == line


def test_shares_are_rounded() -> None:
    assert [percent(part, 200) for part in (0, 1, 100, 200)] == ["0%", "<1%", "50%", "100%"]
    assert percent(1, 0) == "0%"
