"""POST /auth: check a client's credentials with a registry."""

from __future__ import annotations

from functools import partial

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from blueprints.request import engine, login_auth
from blueprints.response import dump
from blueprints.routing import JSON, Answer
from blueprints.schemas.base import ResponseSchema
from blueprints.streaming import while_connected
from services.system.auth import log_in

blueprint = Blueprint("system_auth", __name__)


class AuthResponse(ResponseSchema):
    identity_token = fields.String(data_key="IdentityToken")
    status = fields.String(data_key="Status")


@blueprint.post("/auth", body=JSON, answer=Answer(AuthResponse))
def system_auth() -> ResponseReturnValue:
    """POST /auth."""
    return dump(while_connected(partial(log_in, engine(), login_auth())))
