"""POST /images/load: load the images of an archive."""

from __future__ import annotations

from flask import Blueprint
from flask.typing import ResponseReturnValue

from stowage.blueprints.request import body_stream, load_query, operation_engine
from stowage.blueprints.routing import TAR
from stowage.blueprints.schemas.fields import DockerBool
from stowage.blueprints.schemas.images import PlatformsQuery
from stowage.blueprints.streaming import PROGRESS, stream_progress
from stowage.services.images.load import load_image

blueprint = Blueprint("image_load", __name__)


class LoadQuery(PlatformsQuery):
    """`quiet` has no effect, as in moby's containerd store, which reports only whole images."""

    quiet = DockerBool(load_default=True)


@blueprint.post("/images/load", query=LoadQuery, body=TAR, answer=PROGRESS)
def image_load() -> ResponseReturnValue:
    """POST /images/load."""
    query = load_query()
    lines = load_image(operation_engine(), body_stream(), platforms=query["platforms"])
    return stream_progress(lines, operation="load", reads_body=True, errors_in_stream=True)
