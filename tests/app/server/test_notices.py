"""What a service says once it is ready."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from stowage.app.server.notices import notify_ready
from stowage.app.settings import Config


def test_a_service_with_a_bucket_names_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = {"STOWAGE_CONTENT_URL": "s3://images/stowage?endpoint=https://s3.example.org"}
    config = Config.from_environ({"STOWAGE_ROOT": str(tmp_path), "STOWAGE_BIND": "unix:/run/s.sock", **content})
    listeners: list[Any] = [None]
    with caplog.at_level(logging.INFO):
        notify_ready(config, listeners, 3)
    assert "; bucket s3://images/stowage at https://s3.example.org (3 images); " in caplog.text
