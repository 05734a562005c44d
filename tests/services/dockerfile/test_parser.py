"""Which words of a line open a here-document."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.dockerfile.parser import _MARK, read_heredocs

GO = re.compile(r"[0-9]*<<(-?)[\t\n\f\r ]*([^<]+)", re.DOTALL)
"""The expression as buildkit has it. In Go it takes linear time, in Python quadratic."""


@given(st.sampled_from(["", "<<", "1<<-", "<<  "]), st.text(st.sampled_from("<-0a \t\n\f\r\v\u3000'\"\\$"), max_size=10))
def test_a_mark_is_what_it_is_to_buildkit(beginning: str, rest: str) -> None:
    ours, its = _MARK.fullmatch(beginning + rest), GO.fullmatch(beginning + rest)
    assert (ours and ours.groups()) == (its and its.groups())


@pytest.mark.parametrize("line", ["RUN <<" + " " * (1 << 20) + "x<", "RUN <<" + " " * (1 << 20), "RUN <<-" + "x" * (1 << 20) + "<"])
def test_a_long_word_that_is_no_mark_takes_linear_time(line: str) -> None:
    assert read_heredocs(line, lambda: None) == ()
