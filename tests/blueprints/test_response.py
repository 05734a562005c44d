"""JSON answers."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass

from flask import Flask, Response
from marshmallow import fields

from stowage.blueprints.response import dump, dump_kept, dump_long_list
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema, since
from stowage.blueprints.versioning import ApiVersion

SHAPED: list[str] = []


def note(name: str) -> str:
    SHAPED.append(name)
    return name


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Item:
    name: str


class ItemResponse(ResponseSchema):
    name = fields.Function(lambda item: note(item.name), data_key="Name")
    late = fields.Constant("<late>", data_key="Late", metadata=since("1.48"))


def at(app: Flask, version: str, answer: Callable[[], Response], *, many: bool = True) -> Response:
    """What `answer()` gives inside a request of this version, whose route declares one item or many."""
    endpoint = f"items_{many}"
    if endpoint not in app.view_functions:
        app.add_url_rule(f"/{endpoint}", endpoint, lambda: "", methods=["GET"], answer=Answer(ItemResponse, many=many))
    with app.test_request_context(f"/{endpoint}", environ_base={"stowage.api_version": ApiVersion.parse(version)}):
        response: Response = answer()
        return response


def test_one_value_is_an_object_and_many_are_a_list(app: Flask) -> None:
    one = at(app, "1.47", lambda: dump(Item("a")), many=False)
    many = at(app, "1.48", lambda: dump([Item("a"), Item("b")]))
    assert (one.data, one.content_type) == (b'{"Name":"a"}\n', "application/json")
    assert many.data == b'[{"Name":"a","Late":"<late>"},{"Name":"b","Late":"<late>"}]\n'


def test_a_long_list_is_the_same_as_a_list(app: Flask) -> None:
    items = [Item(str(number)) for number in range(20)]
    for version in ("1.47", "1.48"):
        assert at(app, version, lambda: dump_long_list(items)).data == at(app, version, lambda: dump(items)).data
    assert at(app, "1.48", lambda: dump_long_list([])).data == b"[]\n"


def test_an_item_of_a_long_list_is_shaped_once_per_version(app: Flask) -> None:
    items = [Item("shaped once")]
    SHAPED.clear()
    for version in ("1.47", "1.48", "1.47", "1.48"):
        at(app, version, lambda: dump_long_list(items))
    assert SHAPED == ["shaped once"] * 2


def test_a_kept_answer_is_the_same_and_shaped_once_per_version(app: Flask) -> None:
    item = Item("kept")
    SHAPED.clear()
    for version in ("1.47", "1.48", "1.47", "1.48"):
        assert (
            at(app, version, lambda: dump_kept(item, item), many=False).data
            == at(app, version, lambda: dump(Item("kept")), many=False).data
        )
        assert at(app, version, lambda: dump_kept(item, None)).content_type == "application/json"
    assert SHAPED == ["kept"] * 6  # for `dump` each time, for `dump_kept` once per version


def test_nothing_of_an_item_is_kept_when_it_is_gone(app: Flask) -> None:
    from stowage.blueprints.response import _encoded

    items = [Item("gone soon")]
    at(app, "1.30", lambda: dump_long_list(items))
    assert len(_encoded(ItemResponse, ApiVersion(1, 30))) == 1
    items.clear()
    gc.collect()
    assert len(_encoded(ItemResponse, ApiVersion(1, 30))) == 0
