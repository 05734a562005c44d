"""Versioned schemas."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from marshmallow import fields

from stowage.blueprints.schemas.base import (
    OMIT_EMPTY,
    OMIT_NULL,
    QuerySchema,
    ResponseSchema,
    between,
    omit_empty,
    since,
    until,
    version_rule,
)
from stowage.blueprints.versioning import ApiVersion


class Leaf(ResponseSchema):
    new = fields.Integer(data_key="New", metadata=since("1.48"))
    old = fields.Integer(data_key="Old", metadata=until("1.44"))
    maybe = fields.String(data_key="Maybe", metadata=between("1.30", "1.50") | OMIT_EMPTY)


class Tree(ResponseSchema):
    id = fields.String(data_key="Id")
    leaf = fields.Nested(Leaf, data_key="Leaf")
    leaves = fields.List(fields.Nested(Leaf), data_key="Leaves")
    named = fields.Dict(values=fields.Nested(Leaf), data_key="Named")

    @version_rule(until("1.43"))
    def first(self, shaped: dict[str, Any], value: Any) -> None:
        shaped["Seen"] = [value.id]

    @version_rule(between("1.40", "1.43"))
    def second(self, shaped: dict[str, Any], _: Any) -> None:
        shaped["Seen"].append("second")


class Nullable(ResponseSchema):
    items = fields.Raw(data_key="Items", metadata=since("1.44") | OMIT_NULL)


class Text(ResponseSchema):
    text = fields.String(data_key="Text", metadata=omit_empty(since("1.52")))


class Query(QuerySchema):
    plain = fields.String(data_key="Plain")
    late = fields.Integer(load_default=7, metadata=since("1.48"))
    several = fields.List(fields.String(), load_default=list)


LEAF = SimpleNamespace(new=1, old=2, maybe="")
TREE = SimpleNamespace(id="x", leaf=LEAF, leaves=[LEAF, SimpleNamespace(new=3, old=4, maybe="m")], named={"a": LEAF})


@pytest.mark.parametrize(
    ("version", "keys"),
    [
        pytest.param("1.24", ["Old"], id="before everything"),
        pytest.param("1.43", ["Old", "Maybe"], id="last version that has it"),
        pytest.param("1.44", ["Maybe"], id="the version that lost it"),
        pytest.param("1.48", ["New", "Maybe"], id="the version that brought it"),
        pytest.param("1.50", ["New"], id="the end of between"),
    ],
)
def test_a_field_is_dumped_in_its_versions_only(version: str, keys: list[str]) -> None:
    leaf = SimpleNamespace(new=1, old=2, maybe="here")
    assert list(Leaf.at(ApiVersion.parse(version)).dump(leaf)) == keys


def test_nested_schemas_follow_the_version_wherever_they_are() -> None:
    new, old = Tree.at(ApiVersion(1, 56)).dump(TREE), Tree.at(ApiVersion(1, 24)).dump(TREE)
    assert (new["Leaf"], new["Leaves"], new["Named"]) == ({"New": 1}, [{"New": 1}, {"New": 3}], {"a": {"New": 1}})
    assert (old["Leaf"], old["Leaves"], old["Named"]) == ({"Old": 2}, [{"Old": 2}, {"Old": 4}], {"a": {"Old": 2}})


def test_an_empty_value_is_left_out_where_the_field_says_so() -> None:
    assert Tree.at(ApiVersion(1, 45)).dump(TREE)["Leaves"] == [{}, {"Maybe": "m"}]


def test_an_empty_value_may_be_left_out_in_some_versions_only() -> None:
    old, new = Text.at(ApiVersion(1, 51)), Text.at(ApiVersion(1, 52))
    assert (old.dump(SimpleNamespace(text="")), new.dump(SimpleNamespace(text=""))) == ({"Text": ""}, {})
    assert new.dump(SimpleNamespace(text="x")) == {"Text": "x"}


@pytest.mark.parametrize(("items", "shaped"), [(None, {}), ([], {"Items": []}), (0, {"Items": 0})])
def test_only_null_is_left_out_where_the_field_says_that(items: object, shaped: dict[str, object]) -> None:
    assert Nullable.at(ApiVersion(1, 44)).dump(SimpleNamespace(items=items)) == shaped
    assert Nullable.at(ApiVersion(1, 43)).dump(SimpleNamespace(items=items)) == {}


def test_rules_run_in_their_order_and_versions() -> None:
    assert Tree.at(ApiVersion(1, 39)).dump(TREE)["Seen"] == ["x"]
    assert Tree.at(ApiVersion(1, 42)).dump(TREE)["Seen"] == ["x", "second"]
    assert "Seen" not in Tree.at(ApiVersion(1, 43)).dump(TREE)


def test_there_is_one_schema_of_a_version() -> None:
    assert Tree.at(ApiVersion(1, 45)) is Tree.at(ApiVersion(1, 45))
    assert Tree.at(ApiVersion(1, 45)) is not Tree.at(ApiVersion(1, 46))
    assert type(Leaf.at(ApiVersion(1, 45))) is Leaf


def test_a_parameter_is_loaded_in_its_versions_only() -> None:
    given = {"Plain": "p", "late": "9", "unknown": "u"}
    assert Query.at(ApiVersion(1, 48)).load(given) == {"plain": "p", "late": 9, "several": []}
    assert Query.at(ApiVersion(1, 47)).load(given) == {"plain": "p", "several": []}


def test_defaults_cover_every_parameter_and_are_not_shared() -> None:
    assert Query.defaults() == {"plain": None, "late": 7, "several": []}
    assert Query.defaults()["several"] is not Query.defaults()["several"]
