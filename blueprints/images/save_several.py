"""GET /images/get: the named images as one archive."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.request import load_query, operation_engine
from stowage.blueprints.schemas.images import PlatformsQuery
from stowage.blueprints.streaming import ARCHIVE, stream_tar
from stowage.services.images.save import save_images

blueprint = Blueprint("image_save_several", __name__)


class GetSeveralQuery(PlatformsQuery):
    names = fields.List(fields.String(), load_default=())


@blueprint.get("/images/get", query=GetSeveralQuery, answer=ARCHIVE)
def image_save_several() -> ResponseReturnValue:
    """GET /images/get."""
    query = load_query()
    return stream_tar(save_images(operation_engine(), query["names"], platforms=query["platforms"]), operation="save")
