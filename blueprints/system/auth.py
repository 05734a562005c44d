"""POST /auth: check a client's credentials with a registry."""

from __future__ import annotations

from functools import partial

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.client import while_connected
from stowage.blueprints.request import engine, login_auth
from stowage.blueprints.response import dump
from stowage.blueprints.routing import JSON, Answer
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.services.system.auth import log_in

blueprint = Blueprint("system_auth", __name__)


class AuthResponse(ResponseSchema):
    identity_token = fields.String(data_key="IdentityToken")
    status = fields.String(data_key="Status")


@blueprint.post("/auth", body=JSON, answer=Answer(AuthResponse))
def system_auth() -> ResponseReturnValue:
    """POST /auth."""
    return dump(while_connected(partial(log_in, engine(), login_auth())))
