"""GET /images/{name}/get: an image, or every tag of a repository, as an archive."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from stowage.blueprints.request import load_query, operation_engine
from stowage.blueprints.schemas.images import PlatformsQuery
from stowage.blueprints.streaming import ARCHIVE, stream_tar
from stowage.services.images.save import save_images

blueprint = Blueprint("image_save", __name__)


@blueprint.get("/images/<path:name>/get", query=PlatformsQuery, answer=ARCHIVE)
def image_save(name: str) -> ResponseReturnValue:
    """GET /images/{name}/get."""
    query = load_query()
    return stream_tar(save_images(operation_engine(), [name], platforms=query["platforms"]), operation="save")
