"""POST /images/create: pull an image from a registry, or import one from an archive."""

from __future__ import annotations

from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.request import body_stream, load_query, meta_headers, operation_engine, registry_auth
from stowage.blueprints.routing import TAR
from stowage.blueprints.schemas.base import since
from stowage.blueprints.schemas.fields import PlatformSpecifier
from stowage.blueprints.schemas.images import TotalsQuery, wants_totals
from stowage.blueprints.streaming import PROGRESS, stream_progress
from stowage.services.images.import_ import import_image, import_url
from stowage.services.images.pull import pull_image, pull_reference
from stowage.services.progress import ProgressStream
from stowage.services.store.resolve import repo_tag_reference

blueprint = Blueprint("image_create", __name__)


class CreateQuery(TotalsQuery):
    from_image = fields.String(data_key="fromImage", load_default="")
    from_src = fields.String(data_key="fromSrc", load_default="")
    repo = fields.String(load_default="")
    tag = fields.String(load_default="")
    message = fields.String(load_default="")
    changes = fields.List(fields.String(), load_default=())
    platform = PlatformSpecifier(load_default=None, metadata=since("1.32"))


@blueprint.post("/images/create", query=CreateQuery, body=TAR, answer=PROGRESS, credentials=True)
def image_create() -> ResponseReturnValue:
    """POST /images/create."""
    query = load_query()
    if query["from_image"]:
        return stream_progress(_pull(query), operation="pull", totals=wants_totals(query))
    return stream_progress(_import(query), operation="import", reads_body=query["from_src"] == "-")


def _pull(query: dict[str, Any]) -> ProgressStream:
    reference = pull_reference(query["from_image"], query["tag"])
    return pull_image(
        operation_engine(reference.domain),
        reference,
        platform=query["platform"],
        credentials=registry_auth(),
        headers=meta_headers(),
    )


def _import(query: dict[str, Any]) -> ProgressStream:
    """Import from the request's body if the source is `-`, otherwise from a URL."""
    source = query["from_src"]
    options = {
        "reference": repo_tag_reference(query["repo"], query["tag"]),
        "message": query["message"] or f"Imported from {source}",
        "platform": query["platform"],
        "changes": query["changes"],
    }
    if source == "-":
        return import_image(operation_engine(), body_stream(), **options)
    return import_url(operation_engine(), source, **options)
