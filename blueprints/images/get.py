"""GET /images/get and GET /images/{name}/get: one or several images as an archive."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from blueprints.request import engine, load_query
from blueprints.schemas.platforms import PlatformsQuery
from blueprints.streaming import stream_tar
from services.images.save import save_images

blueprint = Blueprint("image_get", __name__)


class GetQuery(PlatformsQuery):
    names = fields.List(fields.String(), load_default=())


@blueprint.get("/images/get")
@blueprint.get("/images/<path:name>/get")
def image_get(name: str | None = None) -> ResponseReturnValue:
    """GET /images/get and GET /images/{name}/get."""
    query = load_query(GetQuery)
    names = query["names"] if name is None else [name]
    return stream_tar(save_images(engine(), names, platforms=query["platforms"]))
