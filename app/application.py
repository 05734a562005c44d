"""The WSGI application: every route, wrapped in its middlewares."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from flask import Flask, Request, Response
from werkzeug.routing import MapAdapter, Rule

from stowage.app.errors import register_errors
from stowage.app.logs import log_to_stderr, make_records_safe
from stowage.app.metrics import METRICS, Metrics
from stowage.app.middleware import GoServer, HealthAddress, HostGuard, register_headers
from stowage.app.peers import ADMITS, PeerGuard, is_admitted
from stowage.app.request_log import REQUEST_LOG, RequestLog
from stowage.app.settings import CONFIG, Config
from stowage.app.wiring import build_engine, prepare_store
from stowage.blueprints import BLUEPRINTS, PAGE_BLUEPRINTS
from stowage.blueprints.access import PAGE_MODE
from stowage.blueprints.client import COMPUTING, LOCAL_SHARE, places
from stowage.blueprints.log_entry import log_path
from stowage.blueprints.request import CLIENT_IDLE, ENGINE, limit_idleness
from stowage.blueprints.routing import NameConverter, Route, check_version
from stowage.blueprints.streaming import LISTENERS, SERVING, TRANSFERS
from stowage.blueprints.system.metrics import EVERYWHERE, EXPOSITION
from stowage.blueprints.system.readyz import READINESS
from stowage.blueprints.versioning import MINIMUM, VersionPrefix
from stowage.services.engine import Engine
from stowage.services.system.readiness import Readiness, find_problems, read_totals
from stowage.services.system.transfers import Transfers

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


_COMPUTING = 4
"""How many requests that compute for long run at once, unless there are less than twice as many threads."""


class DockerResponse(Response):
    """A response that has a Content-Type only if one is set, like an empty response from Go."""

    default_mimetype = None


class Application(Flask):
    """A Flask application that routes as moby's router does."""

    url_rule_class: type[Rule] = Route
    response_class = DockerResponse

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """The function itself: none here is a coroutine, and to find that out for each takes longer than most of them."""
        return func

    def create_url_adapter(self, request: Request | None) -> MapAdapter | None:
        """What matches the request's path. Flask's own also reads the host, which no route depends on, and looks for an upgrade to
        WebSocket, which Go's server ignores.
        """
        return None if request is None else MapAdapter(self.url_map, "", "", "", "http", request.path, request.method)


def create_app(config: Config | None = None, *, build: Callable[[Config], Engine] | None = None, metrics: Metrics | None = None) -> Flask:
    """The WSGI application for this configuration, by default the environment's; the engine is built on the first request.

    A server may therefore create the application and fork: every process gets its own database connections. The store is prepared
    first: its folders are held from then on, and its database is migrated. Then the log is set up. A caller that passes `build` must do
    both itself. With `metrics` the requests are counted.
    Raises ConfigError and EngineError.
    """
    make_records_safe()
    config = config or Config.from_environ()
    if build is None:
        prepare_store(config)
        log_to_stderr(config.log_level, config.log_format)
    app = Application("stowage", static_folder=None)
    app.config["PROVIDE_AUTOMATIC_OPTIONS"] = False
    app.url_map.merge_slashes = False
    app.url_map.converters["path"] = NameConverter
    app.extensions[CONFIG] = config
    app.extensions[ENGINE] = engine = _once(lambda: (build or build_engine)(config))
    app.extensions[READINESS] = ready = Readiness(lambda: find_problems(engine()))
    app.extensions[METRICS], app.extensions[EVERYWHERE] = metrics, config.metrics == "on"
    app.extensions[EXPOSITION] = metrics and (lambda: metrics.exposition(lambda: read_totals(engine()), ready=not ready.problems()))
    app.extensions[MINIMUM] = config.min_api_version
    app.extensions[CLIENT_IDLE] = config.client_idle_seconds
    app.extensions[LISTENERS] = places(max(1, config.threads // 4))
    app.extensions[COMPUTING] = places(min(_COMPUTING, max(1, config.threads // 2)))
    app.extensions[TRANSFERS] = Transfers(lambda: engine().board)
    app.extensions[SERVING] = lambda: True
    app.extensions[LOCAL_SHARE] = False
    app.extensions[ADMITS] = (lambda _: True) if config.allow_insecure_tcp else is_admitted
    register_headers(app)
    app.before_request(log_path)
    app.before_request(check_version)
    app.before_request(limit_idleness)
    register_errors(app)
    app.extensions[PAGE_MODE] = config.page
    for blueprint in BLUEPRINTS + (PAGE_BLUEPRINTS if config.page != "off" else ()):
        app.register_blueprint(blueprint)
    _wrap(app, config, metrics)
    return app


def _wrap(app: Flask, config: Config, metrics: Metrics | None) -> None:
    """Wrap the application in its middlewares. They are listed from the outside in, as a request passes them."""
    routes = app.wsgi_app
    bound = [bind.host for bind in config.bind if bind.host]
    wrappers: list[Callable[[WSGIApplication], WSGIApplication]] = [
        partial(RequestLog, slow_seconds=config.slow_request, metrics=metrics),
        partial(HealthAddress, routes=routes),
        partial(PeerGuard, admits=app.extensions[ADMITS]),
        partial(HostGuard, bound=bound, named=config.hosts, has_page=config.page != "off"),
        GoServer,
        VersionPrefix,
    ]
    wrapped: WSGIApplication = routes
    for wrapper in reversed(wrappers):
        wrapped = wrapper(wrapped)
    app.extensions[REQUEST_LOG] = wrapped
    app.wsgi_app = wrapped  # type: ignore[assignment, method-assign]


def _once(build: Callable[[], Engine]) -> Callable[[], Engine]:
    """A function that builds the engine on its first call, in whichever thread, and returns the same one from then on."""
    lock, built = threading.Lock(), list[Engine]()

    def get() -> Engine:
        with lock:
            if not built:
                built.append(build())
        return built[0]

    return get
