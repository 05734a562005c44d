"""GET /images/{name}/attestations."""

from __future__ import annotations

import json

import pytest
from flask.testing import FlaskClient

from stowage.services.archive import bounds
from stowage.services.engine import Engine
from stowage.services.oci.digest import Digest
from tests.builders import PREDICATE_PROVENANCE, PREDICATE_SBOM, Layout, put_image

PATH = "/v1.55/images/team/multi:1/attestations"


@pytest.fixture(autouse=True)
def layout(engine: Engine) -> Layout:
    """The image team/multi:1 for linux/amd64 and linux/arm64."""
    layout = Layout()
    put_image(engine, "team/multi:1", layout, layout.multi_platform(("linux/amd64", "linux/arm64/v8")))
    return layout


def test_a_statement_is_a_descriptor_and_its_type(client: FlaskClient, layout: Layout) -> None:
    found = client.get(PATH).get_json()
    assert [each["PredicateType"] for each in found] == [PREDICATE_PROVENANCE, PREDICATE_SBOM]
    assert all(each.keys() == {"Descriptor", "PredicateType"} for each in found)
    assert all(each["Descriptor"]["annotations"] == {"in-toto.io/predicate-type": each["PredicateType"]} for each in found)
    assert all(each["Descriptor"]["digest"] in layout.blobs for each in found)


@pytest.mark.parametrize("statement", ["1", "true", "0"])
def test_the_statement_itself_is_there_when_asked_for(client: FlaskClient, layout: Layout, statement: str) -> None:
    for each in client.get(PATH, query_string={"statement": statement}).get_json():
        wanted = json.loads(layout.blobs[each["Descriptor"]["digest"]]) if statement != "0" else None
        assert each.get("Statement") == wanted


@pytest.mark.parametrize(
    ("query", "types"),
    [
        ({"type": PREDICATE_SBOM}, [PREDICATE_SBOM]),
        ({"type": [f" {PREDICATE_SBOM} ", PREDICATE_PROVENANCE]}, [PREDICATE_PROVENANCE, PREDICATE_SBOM]),
        ({"type": "nope"}, []),
        ({"type": " ", "platform": ""}, [PREDICATE_PROVENANCE, PREDICATE_SBOM]),
        ({"platform": '{"os":"linux","architecture":"arm64"}'}, [PREDICATE_PROVENANCE, PREDICATE_SBOM]),
    ],
    ids=["one type", "types with spaces", "a type that nobody has", "empty values", "a platform"],
)
def test_parameters_select(client: FlaskClient, query: dict[str, str | list[str]], types: list[str]) -> None:
    response = client.get(PATH, query_string=query)
    assert (response.status_code, [each["PredicateType"] for each in response.get_json()]) == (200, types)


@pytest.mark.parametrize(
    ("path", "query", "status", "words"),
    [
        (PATH.replace("1.55", "1.54"), "", 400, "GET /images/{name:.*}/attestations requires minimum API version 1.55"),
        (PATH, "platform={}&platform={}", 400, "only one platform value is currently supported"),
        (PATH, "platform=&platform=", 400, "only one platform value is currently supported"),
        (PATH, "platform=bad", 400, "failed to parse platform: invalid character 'b' looking for beginning of value"),
        ("/v1.55/images/nope/attestations", "", 404, "No such image: nope:latest"),
    ],
)
def test_what_is_wrong_is_told_in_dockers_words(client: FlaskClient, path: str, query: str, status: int, words: str) -> None:
    response = client.get(f"{path}?{query}")
    assert (response.status_code, response.get_json()) == (status, {"message": words})


@pytest.mark.parametrize(("is_present", "status"), [(True, 200), (False, 404)], ids=["present", "missing"])
def test_memory_for_statements_is_reserved_until_the_answer_has_been_sent(
    client: FlaskClient, engine: Engine, layout: Layout, monkeypatch: pytest.MonkeyPatch, is_present: bool, status: int
) -> None:
    monkeypatch.setattr(bounds, "_UNRESERVED_BYTES", 0)
    if not is_present:
        engine.content.delete([Digest.parse(each["Descriptor"]["digest"]) for each in client.get(PATH).get_json()])
    free = engine.memory.free
    response = client.get(PATH, query_string={"statement": "1"})
    assert (response.status_code, engine.memory.free < free) == (status, True)
    response.close()
    assert engine.memory.free == free
