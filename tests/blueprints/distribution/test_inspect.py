"""GET /distribution/{name}/json."""

from __future__ import annotations

import base64
import json

import pytest
from flask.testing import FlaskClient

from stowage.services.oci import mediatypes
from tests.builders import Layout, make_layer
from tests.fake_registry import Answer, FakeRegistry, Fault


@pytest.mark.parametrize("prefix", ["", "/v1.30", "/v1.56"])
def test_a_target_and_its_platforms_are_told(client: FlaskClient, registry: FakeRegistry, prefix: str) -> None:
    layout = Layout()
    image = layout.image([make_layer()], platform="linux/arm64/v8")
    name = registry.publish(layout, image)
    response = client.get(f"{prefix}/distribution/{name}:1/json")
    platform = '{"architecture":"arm64","os":"linux","variant":"v8"}'
    descriptor = f'{{"mediaType":"{image["mediaType"]}","digest":"{image["digest"]}","size":{image["size"]}}}'
    assert response.content_type == "application/json"
    assert response.data.decode() == f'{{"Descriptor":{descriptor},"Platforms":[{platform}]}}\n'


def test_no_platform_is_null(client: FlaskClient, registry: FakeRegistry) -> None:
    layout = Layout()
    name = registry.publish(layout, layout.index([]))
    response = client.get(f"/distribution/{name}:1/json")
    assert response.get_json()["Platforms"] is None
    assert response.get_json()["Descriptor"]["mediaType"] == mediatypes.OCI_INDEX


def test_credentials_go_to_the_registry(client: FlaskClient) -> None:
    layout = Layout()
    with FakeRegistry(auth="basic", user="alice:secret").serve() as registry:
        name = registry.publish(layout, layout.image([make_layer()]))
        auth = base64.urlsafe_b64encode(json.dumps({"username": "alice", "password": "secret"}).encode()).decode()
        assert client.get(f"/distribution/{name}:1/json", headers={"X-Registry-Auth": auth}).status_code == 200


JSON = {"Content-Type": "application/json"}
HTML = {"Content-Type": "text/html"}
TEXT = {"Content-Type": "text/plain"}
DENIED = "denied: requested access to the resource is denied"


def errors(code: str, message: str = "", **fields: object) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, **fields}]}).encode()


def challenge(error: str, **parameters: str) -> dict[str, str]:
    told = "".join(f',{name}="{value}"' for name, value in {"error": error, **parameters}.items())
    return {"WWW-Authenticate": f'Bearer realm="https://auth.invalid/"{told}'}


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        pytest.param(Answer(405, errors("UNSUPPORTED"), JSON), 405, "unsupported", id="unsupported"),
        pytest.param(Answer(405, errors("UNSUPPORTED", "no pulls"), JSON), 405, "unsupported: no pulls", id="unsupported in words"),
        pytest.param(Answer(404, errors("MANIFEST_UNKNOWN", "gone"), JSON), 404, "manifest unknown: gone", id="no such manifest"),
        pytest.param(Answer(404, errors("BLOB_UPLOAD_UNKNOWN"), JSON), 404, "blob upload unknown", id="another unknown"),
        pytest.param(Answer(400, errors("NAME_INVALID"), JSON), 400, "name invalid", id="invalid name"),
        pytest.param(Answer(400, errors("PAGINATION_NUMBER_INVALID"), JSON), 400, "pagination number invalid", id="invalid page"),
        pytest.param(Answer(400, errors("SOME", "why not"), JSON), 500, "unknown: why not", id="unknown code"),
        pytest.param(Answer(400, b"<html>oops", HTML), 500, "unknown: <html>oops", id="400 with a page"),
        pytest.param(Answer(404, b"<html>oops", HTML), 500, "unknown: <html>oops", id="404 with a page"),
        pytest.param(Answer(401), 401, "unauthorized: ", id="401"),
        pytest.param(Answer(401, errors("UNAUTHORIZED", "who are you"), JSON), 401, "unauthorized: who are you", id="unauthorized"),
        pytest.param(Answer(401, b'{"details": "no token"}', JSON), 401, "unauthorized: no token", id="401 of old"),
        pytest.param(Answer(403, b"go away", TEXT), 403, "denied: go away", id="403 with a text"),
        pytest.param(Answer(429, b"slow down", TEXT), 429, "toomanyrequests: slow down", id="429 with a text"),
        pytest.param(Answer(429, errors("TOOMANYREQUESTS", "slow down"), JSON), 429, "toomanyrequests: slow down", id="429"),
        pytest.param(Answer(500, b"x", TEXT), 500, "received unexpected HTTP status: 500 Internal Server Error", id="500"),
        pytest.param(Answer(503, errors("UNAVAILABLE"), JSON), 500, "received unexpected HTTP status: 503 Service Unavailable", id="503"),
        pytest.param(
            Answer(400, b"null", JSON),
            500,
            'error parsing HTTP 400 response body: no error details found in HTTP response body: "null"',
            id="400 with nothing",
        ),
        pytest.param(
            Answer(403, b"", challenge("invalid_token")),
            401,
            "errors:\nunauthorized: authentication required\ndenied: \n",
            id="a token that is none",
        ),
        pytest.param(
            Answer(403, errors("DENIED", "not at night"), JSON | challenge("insufficient_scope", error_description="not yours")),
            403,
            "errors:\ndenied: not yours\ndenied: not at night\n",
            id="a token for something else",
        ),
    ],
)
def test_what_a_registry_says_is_told_with_its_status(
    client: FlaskClient, registry: FakeRegistry, answer: Answer, status: int, words: str
) -> None:
    registry.answers = {"1": answer}
    response = client.get(f"/distribution/{registry.host}/team/app:1/json")
    assert (response.status_code, response.get_json()) == (status, {"message": words})


def test_a_page_instead_of_a_manifest_is_refused(client: FlaskClient, registry: FakeRegistry) -> None:
    registry.answers = {"1": Answer(200, b"<html>oops", HTML)}
    assert client.get(f"/distribution/{registry.host}/team/app:1/json").status_code == 400


@pytest.mark.parametrize("reference", ["127.0.0.1:1/x:1", f"127.0.0.1:1/x@sha256:{'a' * 64}"])
def test_a_registry_that_cannot_be_reached_is_told_with_its_address(client: FlaskClient, reference: str) -> None:
    response = client.get(f"/distribution/{reference}/json")
    words = 'Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused'
    assert (response.status_code, response.get_json()) == (500, {"message": words})


@pytest.mark.parametrize(("name", "verb"), [("1", "Head"), (f"sha256:{'a' * 64}", "Get")], ids=["tag", "digest"])
@pytest.mark.parametrize(
    ("fault", "words"), [(Fault.SILENT, "EOF"), (Fault.ENDLESS_REDIRECT, "stopped after 10 redirects")], ids=["silent", "redirects"]
)
def test_a_request_without_an_answer_is_told_with_its_url(
    client: FlaskClient, registry: FakeRegistry, fault: Fault, words: str, name: str, verb: str
) -> None:
    registry.keep_manifest("team/app", name, mediatypes.OCI_MANIFEST, b"{}")
    registry.faults = {name: fault}
    response = client.get(f"/distribution/{registry.host}/team/app{'@' if ':' in name else ':'}{name}/json")
    assert (response.status_code, response.get_json()) == (
        500,
        {"message": f'{verb} "{registry.base}/v2/team/app/manifests/{name}": {words}'},
    )


@pytest.mark.parametrize(("name", "verb"), [("1", "Head"), (f"sha256:{'a' * 64}", "Get")], ids=["tag", "digest"])
def test_missing_credentials_are_told(client: FlaskClient, name: str, verb: str) -> None:
    with FakeRegistry(auth="basic", user="alice:secret").serve() as registry:
        response = client.get(f"/distribution/{registry.host}/team/app{'@' if ':' in name else ':'}{name}/json")
        words = f'{verb} "{registry.base}/v2/team/app/manifests/{name}": no basic auth credentials'
    assert (response.status_code, response.get_json()) == (500, {"message": words})


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        pytest.param(Answer(401, errors("UNAUTHORIZED", "who"), JSON), 401, "unauthorized: who", id="401"),
        pytest.param(Answer(401, b'{"details": "who"}', JSON), 401, "unauthorized: who", id="401 of old"),
        pytest.param(Answer(403, b"no", TEXT), 403, "denied: no", id="403 with a text"),
        pytest.param(Answer(500, b"x", TEXT), 500, "received unexpected HTTP status: 500 Internal Server Error", id="500"),
        pytest.param(
            Answer(200, b"oops", JSON),
            500,
            "unable to decode token response: invalid character 'o' looking for beginning of value",
            id="no JSON",
        ),
        pytest.param(Answer(200, b"{}", JSON), 500, "authorization server did not include a token in the response", id="no token"),
    ],
)
def test_what_a_token_server_says_is_told_with_its_status(client: FlaskClient, answer: Answer, status: int, words: str) -> None:
    with FakeRegistry(auth="bearer", answers={"token": answer}).serve() as registry:
        response = client.get(f"/distribution/{registry.host}/team/app:1/json")
        request = f'Head "{registry.base}/v2/team/app/manifests/1"'
    assert (response.status_code, response.get_json()) == (status, {"message": f"{request}: {words}"})


def test_a_token_server_that_cannot_be_reached_is_told(client: FlaskClient) -> None:
    with FakeRegistry(auth="bearer", token_realm="http://127.0.0.1:1/token").serve() as registry:
        response = client.get(f"/distribution/{registry.host}/team/app:1/json")
        request = f'Head "{registry.base}/v2/team/app/manifests/1"'
    words = f'{request}: Get "http://127.0.0.1:1/token": dial tcp 127.0.0.1:1: connect: connection refused'
    assert (response.status_code, response.get_json()) == (500, {"message": words})


def test_a_token_that_opens_nothing_is_denied(client: FlaskClient) -> None:
    with FakeRegistry(auth="bearer", user="alice:secret").serve() as registry:
        response = client.get(f"/distribution/{registry.host}/team/app:1/json")
    assert (response.status_code, response.get_json()) == (403, {"message": f"errors:\n{DENIED}\nunauthorized: \n"})


@pytest.mark.parametrize(("name", "status"), [("UPPER", 400), ("scratch", 400), ("a" * 64, 500)])
def test_a_name_that_cannot_be_pulled_is_refused(client: FlaskClient, name: str, status: int) -> None:
    assert client.get(f"/distribution/{name}/json").status_code == status


def test_the_route_is_younger_than_1_29(client: FlaskClient) -> None:
    response = client.get("/v1.29/distribution/app/json")
    assert (response.status_code, response.get_json()) == (
        400,
        {"message": "GET /distribution/{name:.*}/json requires minimum API version 1.30"},
    )
