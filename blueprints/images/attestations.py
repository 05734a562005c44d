"""GET /images/{name}/attestations: the in-toto statements of an image.

Source: moby daemon/server/router/image/image_routes.go getImageAttestations.
"""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields, pre_load

from stowage.blueprints.request import answer_costs, engine, load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import OMIT_NULL, QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import DescriptorField, DockerBool, PlatformList
from stowage.blueprints.schemas.json_schema import written_as
from stowage.services.errors import InvalidParameter
from stowage.services.images.attestations import Attestation, read_attestations

blueprint = Blueprint("image_attestations", __name__)


class AttestationsQuery(QuerySchema):
    """`platform` is a list that may hold only one value, `type` a list of predicate types. Empty values are ignored."""

    platforms = PlatformList(data_key="platform")
    types = fields.List(fields.String(), data_key="type", load_default=())
    statements = DockerBool(data_key="statement", load_default=False)

    @pre_load
    def _tidy(self, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        platforms, types = given.get("platform", ()), given.get("type", ())
        if len(platforms) > 1:
            raise InvalidParameter("only one platform value is currently supported")
        return given | {"platform": list(filter(None, platforms)), "type": list(filter(None, map(str.strip, types)))}


_STATEMENT = {"description": "The in-toto statement, as it was stored"}


def _embed_statement(attestation: Attestation) -> orjson.Fragment | None:
    """The statement's own bytes, to be embedded in JSON unchanged."""
    return None if attestation.statement is None else orjson.Fragment(attestation.statement)


class AttestationItem(ResponseSchema):
    """One statement (moby api/types/image/attestation.go)."""

    descriptor = DescriptorField(data_key="Descriptor")
    predicate_type = fields.String(data_key="PredicateType")
    statement = fields.Function(_embed_statement, data_key="Statement", metadata=written_as(_STATEMENT) | OMIT_NULL)


@blueprint.get("/images/<path:name>/attestations", since="1.55", query=AttestationsQuery, answer=Answer(AttestationItem, many=True))
def image_attestations(name: str) -> ResponseReturnValue:
    """GET /images/{name}/attestations."""
    query = load_query()
    platform = next(iter(query["platforms"]), None)
    costs = answer_costs() if query["statements"] else None
    return dump(read_attestations(engine(), name, platform=platform, types=query["types"], costs=costs))
