"""Error responses: one table that maps error classes to HTTP statuses, and `{"message": ...}` as the body, or a page for people."""

from __future__ import annotations

import logging
from http import HTTPStatus

import orjson
from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from stowage.blueprints.access import has_page
from stowage.blueprints.log_entry import log_entry
from stowage.blueprints.rendering.answer import render_error
from stowage.blueprints.routing import JSON, is_page
from stowage.blueprints.versioning import below_json_errors
from stowage.services import errors

_log = logging.getLogger(__name__)

STATUSES: dict[type[errors.EngineError], HTTPStatus] = {
    errors.EngineError: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.InvalidParameter: HTTPStatus.BAD_REQUEST,
    errors.InvalidDigest: HTTPStatus.BAD_REQUEST,
    errors.InvalidReference: HTTPStatus.BAD_REQUEST,
    errors.InvalidContent: HTTPStatus.BAD_REQUEST,
    errors.Unauthorized: HTTPStatus.UNAUTHORIZED,
    errors.Forbidden: HTTPStatus.FORBIDDEN,
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.ImageNotFound: HTTPStatus.NOT_FOUND,
    errors.PlatformNotFound: HTTPStatus.NOT_FOUND,
    errors.BlobNotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Unsupported: HTTPStatus.NOT_IMPLEMENTED,
    errors.NotAllowed: HTTPStatus.METHOD_NOT_ALLOWED,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.Disconnected: HTTPStatus.BAD_REQUEST,
    errors.TransferEnded: HTTPStatus.CONFLICT,
    errors.ResourceExhausted: HTTPStatus.TOO_MANY_REQUESTS,
    errors.RegistryFailure: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.OutOfSpace: HTTPStatus.INSUFFICIENT_STORAGE,
    errors.Internal: HTTPStatus.INTERNAL_SERVER_ERROR,
    errors.Damaged: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def register_errors(app: Flask) -> None:
    """Register handlers for every exception that a view raises."""
    app.register_error_handler(errors.EngineError, _engine_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)


def _engine_error(error: errors.EngineError) -> Response:
    """Answer a known failure with its own message. A client of a version without JSON errors gets plain text, as from moby."""
    status = next(STATUSES[each] for each in type(error).__mro__ if each in STATUSES)
    log_entry().note_cause(error)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # what a client did wrong is not logged: it may repeat any part of the request
        log_entry().explain(error, str(error))
    if below_json_errors():
        headers = {"X-Content-Type-Options": "nosniff"}
        return Response(f"{error}\n", status, headers=headers, content_type="text/plain; charset=utf-8")
    return _message(status, str(error), error)


def _http_error(error: HTTPException) -> Response:
    """Answer Flask's own errors. moby does not distinguish an unknown path from a wrong method."""
    if error.code in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED):
        return _message(HTTPStatus.NOT_FOUND, "page not found")
    return _message(error.code or HTTPStatus.INTERNAL_SERVER_ERROR, error.description or error.name)


def _unexpected_error(error: Exception) -> Response:
    """Answer a defect of the service: the log gets the traceback, the client a sentence without internals."""
    _log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _message(HTTPStatus.INTERNAL_SERVER_ERROR, "internal server error")


def _message(status: int, message: str, error: errors.EngineError | None = None) -> Response:
    if is_page(request.path) and has_page():
        return render_error(status, message, error)
    return Response(orjson.dumps({"message": message}, option=orjson.OPT_APPEND_NEWLINE), status, content_type=JSON)
