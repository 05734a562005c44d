"""A Flask view that answers with a constant, behind the service's log line: what a short request is compared with."""

from __future__ import annotations

from flask import Flask

from stowage.logs import log_to_stderr, make_records_safe
from stowage.request_log import RequestLog

make_records_safe()
log_to_stderr()
app = Flask(__name__, static_folder=None)
app.wsgi_app = RequestLog(app.wsgi_app, slow_seconds=0)  # type: ignore[method-assign]


@app.get("/")
def constant() -> str:
    return "OK"
