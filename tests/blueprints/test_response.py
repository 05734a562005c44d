"""JSON answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from marshmallow import fields

from stowage.blueprints.response import dump, dump_kept, dump_long_list
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema, since
from stowage.blueprints.versioning import ApiVersion
from stowage.services.engine import Engine
from stowage.services.errors import Internal
from stowage.services.images.inspect import inspect_image
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference
from tests.builders import Layout, put_image, simple_layout
from tests.engines import ON_EVERY_DATABASE, metadata_store

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


@ON_EVERY_DATABASE
def test_a_kept_answer_is_the_same_and_made_once_per_version(app: Flask, engine: Engine) -> None:
    put_image(engine, "app:1")
    SHAPED.clear()
    for version in ("1.47", "1.48", "1.47", "1.48"):
        kept = at(app, version, lambda: dump_kept(lambda: Item("kept"), "a"), many=False)
        assert kept.data == at(app, version, lambda: dump(Item("kept")), many=False).data
        assert kept.content_type == "application/json"
    assert SHAPED == ["kept"] * 6  # for `dump` each time, for `dump_kept` once per version
    assert at(app, "1.48", lambda: dump_kept(lambda: Item("other"), "b"), many=False).data == b'{"Name":"other","Late":"<late>"}\n'


@ON_EVERY_DATABASE
def test_an_answer_is_made_again_after_any_change_of_any_process(client: FlaskClient, engine: Engine, database_url: str) -> None:
    digest = put_image(engine, "app:1")
    with engine.metadata.read() as tx:
        target = tx.images.by_target(digest)[0].target
    with closing(metadata_store(database_url)) as other:
        for number in range(2, 6):
            with other.write() as tx:
                tx.images.put(f"docker.io/library/app:{number}", target, number)
            for name in ("app:1", str(digest), digest.hex[:12]):
                assert len(client.get(f"/images/{name}/json").get_json()["RepoTags"]) == number
                assert len(client.get(f"/images/{name}/history").get_json()[0]["Tags"]) == number
    put_image(engine, digest.hex[:12], simple_layout(author="another"))
    assert client.get(f"/images/{digest.hex[:12]}/json").get_json()["Id"] != str(digest), "a name counts more than the beginning of an ID"


def test_an_answer_that_a_change_overtakes_is_not_kept(app: Flask, engine: Engine) -> None:
    put_image(engine, "app:1")

    def read() -> Item:
        with engine.metadata.read() as tx:
            names = [record.name for record in tx.images.in_repository("docker.io/library/app")]
        tag_image(engine, "app:1", Reference.parse("app:2"))
        return Item(str(len(names)))

    assert b'"1"' in at(app, "1.48", lambda: dump_kept(read), many=False).data
    assert b'"2"' in at(app, "1.48", lambda: dump_kept(read), many=False).data


def test_every_question_about_an_image_has_its_own_answer(client: FlaskClient, engine: Engine) -> None:
    layout = Layout()
    put_image(engine, "multi", layout, layout.multi_platform())
    for _ in range(2):
        amd64, arm64 = (
            client.get("/v1.49/images/multi/json", query_string={"platform": f'{{"os":"linux","architecture":"{name}"}}'}).get_json()
            for name in ("amd64", "arm64")
        )
        assert [amd64["Architecture"], arm64["Architecture"]] == ["amd64", "arm64"]
        assert "Manifests" not in client.get("/v1.49/images/multi/json").get_json()
        assert len(client.get("/v1.49/images/multi/json?manifests=1").get_json()["Manifests"]) > 1


def test_reading_changes_no_version(engine: Engine) -> None:
    put_image(engine, "app:1")
    version = engine.metadata.version()
    inspect_image(engine, "app:1")
    assert engine.metadata.version() == version is not None
