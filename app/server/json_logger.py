"""gunicorn's own log as JSON, in the form of ours: `gunicorn --logger-class stowage.app.server.json_logger.JsonLogger`."""

from __future__ import annotations

import logging
from typing import TextIO

from gunicorn.glogging import Logger

from stowage.app.logs import JsonFormatter


class JsonLogger(Logger):
    """gunicorn's loggers, whose handlers write JSON."""

    def _set_handler(self, log: logging.Logger, output: str | None, fmt: logging.Formatter, stream: TextIO | None = None) -> None:
        super()._set_handler(log, output, JsonFormatter(), stream)
