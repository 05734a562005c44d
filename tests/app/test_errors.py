"""How failures are answered."""

from __future__ import annotations

import inspect
import logging

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import RequestEntityTooLarge

from stowage.app.errors import STATUSES
from stowage.blueprints.routing import Answer
from stowage.services import errors


def test_every_kind_of_error_has_a_status() -> None:
    kinds = {value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.EngineError)}
    assert set(STATUSES) == kinds


class MoreExact(errors.Unavailable):
    """A failure that is distinguished where it happens."""


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """An application with a route that fails as the test wants."""

    @app.get("/fail/<path:kind>", answer=Answer())
    def fail(kind: str) -> str:
        if kind == "defect":
            raise KeyError("a secret of the inside")
        if kind == "large":
            raise RequestEntityTooLarge("too much")
        raise (MoreExact if kind == "MoreExact" else getattr(errors, kind))("the sentence")

    return app.test_client()


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("InvalidReference", 400),
        ("Forbidden", 403),
        ("NotFound", 404),
        ("Conflict", 409),
        ("Unsupported", 501),
        ("MoreExact", 503),
        ("OutOfSpace", 507),
    ],
)
def test_a_known_error_is_told_in_its_own_words(client: FlaskClient, kind: str, status: int) -> None:
    answer = client.get(f"/v1.45/fail/{kind}")
    assert (answer.status_code, answer.data) == (status, b'{"message":"the sentence"}\n')
    assert answer.content_type == "application/json"


def test_a_defect_is_told_without_internals_and_logged_with_them(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        answer = client.get("/fail/defect")
    assert (answer.status, answer.data) == ("500 Internal Server Error", b'{"message":"internal server error"}\n')
    assert "a secret of the inside" in caplog.text


def test_a_client_that_has_left_is_no_error_of_the_service(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        client.get("/fail/Disconnected")
    assert caplog.text == ""


def test_an_error_of_the_framework_is_told_in_the_same_form(client: FlaskClient) -> None:
    answer = client.get("/fail/large")
    assert (answer.status_code, answer.get_json()) == (413, {"message": "too much"})
