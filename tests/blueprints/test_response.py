"""JSON answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from flask import Flask, Response
from marshmallow import fields

from stowage.blueprints.response import dump, dump_kept, dump_long_list
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema, since
from stowage.blueprints.versioning import ApiVersion
from stowage.services.errors import Internal

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


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("count", [0, 20, 50_000])
def test_a_long_list_is_the_same_as_a_list(app: Flask, count: int, kept: bool) -> None:
    items = [Item(str(number)) for number in range(count)]
    for version in ("1.47", "1.48"):
        assert at(app, version, lambda: dump_long_list(iter(items), kept=kept)).data == at(app, version, lambda: dump(items)).data


@pytest.mark.parametrize(("count", "has_length"), [(10, True), (50_000, False)])
def test_only_a_very_long_list_has_no_length(app: Flask, count: int, has_length: bool) -> None:
    answer = at(app, "1.48", lambda: dump_long_list((Item("a") for _ in range(count)), kept=False))
    assert answer.is_streamed is not has_length


def test_an_error_late_in_a_list_cuts_the_connection(app: Flask) -> None:
    def items() -> Iterator[Item]:
        yield from [Item("a")] * 50_000
        raise Internal("the disk is gone")

    answer = at(app, "1.48", lambda: dump_long_list(items(), kept=False))
    with pytest.raises(ConnectionResetError):
        answer.get_data()


def test_a_kept_answer_is_the_same_and_shaped_once_per_version(app: Flask) -> None:
    item = Item("kept")
    SHAPED.clear()
    for version in ("1.47", "1.48", "1.47", "1.48"):
        kept = at(app, version, lambda: dump_kept(item, item), many=False)
        assert kept.data == at(app, version, lambda: dump(Item("kept")), many=False).data
        assert at(app, version, lambda: dump_kept(item, None)).content_type == "application/json"
    assert SHAPED == ["kept"] * 6  # for `dump` each time, for `dump_kept` once per version


def test_an_answer_is_kept_for_at_most_four_versions(app: Flask) -> None:
    item = Item("kept")
    SHAPED.clear()
    for version in ("1.45", "1.46", "1.47", "1.48") * 2:
        at(app, version, lambda: dump_kept(item, item), many=False)
    assert len(SHAPED) == 4
    for version in ("1.49", "1.45", "1.49"):
        at(app, version, lambda: dump_kept(item, item), many=False)
    assert len(SHAPED) == 6
