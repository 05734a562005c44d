"""The service with a constant Flask view beside its own routes: what a short request is compared with.

`python -m benchmarks.constant` is `stowage serve` with one more path, `/constant`. The server takes it for a quick route, as it does
`/_ping`, and a Flask application of its own answers it, behind the log line and behind nothing else of the service.
`gunicorn benchmarks.constant:app` serves the same application without the service.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from flask import Flask

from stowage.app.logs import log_to_stderr, make_records_safe
from stowage.app.request_log import RequestLog
from stowage.app.server import serving
from stowage.app.settings import Config
from stowage.blueprints.routing import Answer, Route

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

PATH = "/constant"

make_records_safe()
log_to_stderr()
app = Flask(__name__, static_folder=None)
app.wsgi_app = RequestLog(app.wsgi_app, slow_seconds=0)  # type: ignore[method-assign]


@app.get(PATH)
def constant() -> str:
    return "OK"


class Server(serving.Server):
    """The service's server, whose workers also have the constant view."""

    def load(self) -> Flask:
        application = super().load()
        application.url_map.add(Route(PATH, methods=["GET"], endpoint="constant", answer=Answer(), pace="probe"))
        service = application.wsgi_app

        def choose(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            return (app.wsgi_app if environ["PATH_INFO"] == PATH else service)(environ, start_response)

        application.wsgi_app = choose  # type: ignore[method-assign]
        return application


if __name__ == "__main__":
    serving.Server = Server  # type: ignore[misc]
    serving.serve(Config.from_environ())
