"""POST /stowage/images/save: the named images as one archive, without the layers that its receiver has."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.request import body_stream, load_query, operation_engine
from stowage.blueprints.routing import ANY_BYTES
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import PlatformList
from stowage.blueprints.streaming import ARCHIVE, stream_tar
from stowage.services.images.save_since import save_since

blueprint = Blueprint("image_save_since", __name__)


class SaveSinceQuery(QuerySchema):
    names = fields.List(fields.String(), load_default=())
    platforms = PlatformList(data_key="platform")


@blueprint.post("/stowage/images/save", query=SaveSinceQuery, body=ANY_BYTES, answer=ARCHIVE)
def image_save_since() -> ResponseReturnValue:
    """POST /stowage/images/save."""
    query = load_query()
    chunks = save_since(operation_engine(), query["names"], platforms=query["platforms"], source=body_stream())
    return stream_tar(chunks, operation="save")
