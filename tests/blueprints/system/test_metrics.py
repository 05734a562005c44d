"""GET and HEAD /metrics."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from flask.testing import FlaskClient

from stowage.app import metrics as files
from stowage.app.application import create_app
from stowage.app.metrics import Metrics
from stowage.app.settings import Config
from stowage.services.engine import Engine


def test_without_metrics_there_is_no_such_page(client: FlaskClient) -> None:
    answer = client.get("/metrics")
    assert (answer.status_code, answer.get_json()) == (404, {"message": "page not found"})


@pytest.mark.parametrize(("where", "everywhere"), [("health", 404), ("on", 200)])
def test_they_are_where_the_setting_says(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, everywhere: int
) -> None:
    monkeypatch.setattr(files, "_MEMORY", tmp_path)
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path / "root"), "STOWAGE_METRICS": where})
    metrics = Metrics(tmp_path / "root")
    client = create_app(config, build=lambda _: engine, metrics=metrics).test_client()
    at_health = {"gunicorn.socket": SimpleNamespace(is_health=True, settimeout=lambda _: None, family=None)}
    assert [client.open("/metrics", method=method).status_code for method in ("GET", "HEAD")] == [everywhere] * 2
    assert client.get("/v1.45/metrics").status_code == 404
    answer = client.get("/metrics", environ_overrides=at_health)
    assert (answer.status_code, answer.content_type) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert b"stowage_ready 1.0\n" in answer.data
    metrics.close()
