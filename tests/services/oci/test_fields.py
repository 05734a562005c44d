"""Objects read as Go reads them into structs."""

from __future__ import annotations

import pytest

from stowage.services.errors import InvalidContent
from stowage.services.oci.fields import Fields


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
