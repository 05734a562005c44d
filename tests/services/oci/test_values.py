"""How many values a document may have: counted before any is made, and nothing that stands in a string."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from stowage.services.errors import InvalidContent
from stowage.services.oci.config import ImageConfig
from stowage.services.oci.gojson import MAX_VALUES, check_values, decode
from stowage.services.oci.manifest import Index, Manifest
from stowage.services.oci.mediatypes import OCI_INDEX, OCI_MANIFEST

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
