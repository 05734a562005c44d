"""The mapping between keys, digests and names of files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stowage.services.content.paths import Layout, digest_of, key_of
from stowage.services.oci.digest import Digest


@given(st.from_regex(r"[a-z0-9]+(:[a-z0-9]+){0,2}", fullmatch=True))
def test_a_key_is_found_in_its_folders_name(key: str) -> None:
    assert key_of(Layout(Path("/root")).partial(key).parent.name) == key


@given(st.binary())
def test_a_digest_is_found_in_its_path(content: bytes) -> None:
    path = Layout(Path("/root")).blob(Digest.of(content))
    assert digest_of(path.parent.name, path.name) == Digest.of(content)


@pytest.mark.parametrize("name", ["", "-", "a-", "a-b-c-d", "a b", "A", ".hidden"])
def test_a_name_of_others_is_no_key(name: str) -> None:
    assert key_of(name) is None
