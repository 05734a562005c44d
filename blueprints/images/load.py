"""POST /images/load: the images of an archive.

The parameter `quiet` changes nothing, as in moby's containerd store, which reports whole images only.
"""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from blueprints.request import body_stream, engine, load_query
from blueprints.schemas.platforms import PlatformsQuery
from blueprints.streaming import stream_progress
from services.images.load import load_image

blueprint = Blueprint("image_load", __name__)


@blueprint.post("/images/load")
def image_load() -> ResponseReturnValue:
    """POST /images/load."""
    query = load_query(PlatformsQuery)
    return stream_progress(load_image(engine(), body_stream(), platforms=query["platforms"]), reads_body=True, errors_in_stream=True)
