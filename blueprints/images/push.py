"""POST /images/{name}/push: push an image, or every tag of a repository, to its registry."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request
from flask.typing import ResponseReturnValue
from marshmallow import fields, pre_load

from stowage.blueprints.request import load_query, meta_headers, operation_engine, push_auth
from stowage.blueprints.schemas.base import since
from stowage.blueprints.schemas.fields import PlatformJson
from stowage.blueprints.schemas.images import TotalsQuery, wants_totals
from stowage.blueprints.streaming import PROGRESS, stream_progress
from stowage.services.images.push import push_image, push_reference

blueprint = Blueprint("image_push", __name__)


class PushQuery(TotalsQuery):
    tag = fields.String(load_default="")
    platform = PlatformJson(load_default=None, metadata=since("1.46"))

    @pre_load
    def _check_name_first(self, given: dict[str, Any], **_: object) -> dict[str, Any]:
        push_reference((request.view_args or {})["name"], given.get("tag", ""))
        return given


@blueprint.post("/images/<path:name>/push", query=PushQuery, answer=PROGRESS, credentials=True)
def image_push(name: str) -> ResponseReturnValue:
    """POST /images/{name}/push."""
    query = load_query()
    reference = push_reference(name, query["tag"])
    lines = push_image(
        operation_engine(reference.domain),
        reference,
        platform=query["platform"],
        credentials=push_auth(),
        headers=meta_headers(),
    )
    return stream_progress(lines, operation="push", totals=wants_totals(query))
