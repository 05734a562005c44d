"""GET /distribution/{name}/json: what a name currently refers to at its registry."""

from __future__ import annotations

from functools import partial

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.client import while_connected
from stowage.blueprints.request import engine, registry_auth
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.schemas.fields import PLATFORM, DescriptorField
from stowage.blueprints.schemas.json_schema import array, nullable, written_as
from stowage.services.images.distribution import inspect_distribution

blueprint = Blueprint("distribution_inspect", __name__)


class DistributionResponse(ResponseSchema):
    """A target and its platforms (moby api/types/registry/registry.go), which are null if there are none."""

    descriptor = DescriptorField(data_key="Descriptor")
    platforms = fields.Function(
        lambda found: [platform.to_json() for platform in found.platforms] or None,
        data_key="Platforms",
        metadata=written_as(nullable(array(PLATFORM))),
    )


@blueprint.get("/distribution/<path:name>/json", since="1.30", answer=Answer(DistributionResponse), credentials=True)
def distribution_inspect(name: str) -> ResponseReturnValue:
    """GET /distribution/{name}/json."""
    return dump(while_connected(partial(inspect_distribution, engine(), name, credentials=registry_auth())))
