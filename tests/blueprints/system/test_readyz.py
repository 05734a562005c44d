"""GET and HEAD /readyz."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from stowage.blueprints.streaming import SERVING


def test_a_service_that_works_is_ready(client: FlaskClient) -> None:
    answer = client.get("/readyz")
    assert (answer.status_code, answer.data, answer.mimetype) == (200, b"ok\n", "text/plain")
    assert client.head("/readyz").status_code == 200
    assert client.get("/v1.45/readyz").status_code == 404


def test_what_is_wrong_is_in_the_answer_and_in_the_log(client: FlaskClient, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "root" / "blobs").rmdir()
    answer = client.get("/readyz", buffered=True)
    sentence = "The content store cannot take a blob: No such file or directory."
    assert (answer.status_code, answer.text) == (503, f"{sentence}\n")
    assert f'reason="{sentence}"' in caplog.text
    assert client.get("/_ping").status_code == 200


def test_a_service_that_stops_is_not_ready(app: Flask) -> None:
    app.extensions[SERVING] = lambda: False
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.data) == (503, b"The service is stopping.\n")


def test_a_probe_that_succeeds_is_logged_at_debug_only(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stowage")
    client.get("/healthz", buffered=True)
    assert caplog.text == ""
    caplog.set_level(logging.DEBUG, "stowage")
    client.get("/readyz", buffered=True)
    assert "path=/readyz status=200" in caplog.text
