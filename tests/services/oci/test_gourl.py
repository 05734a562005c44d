"""Percent escapes that Go refuses, in its words."""

from __future__ import annotations

import pytest

from stowage.services.oci.gourl import escape_problem


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
