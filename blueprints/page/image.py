"""GET /ui/images/{name}: one image."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import PlatformSpecifier
from stowage.services.images.attestations import read_predicate_types
from stowage.services.images.browse import find_image, name_of, stored_platform
from stowage.services.images.inspect import inspect_image
from stowage.services.images.layers import read_layers
from stowage.services.metadata.summary import ManifestKind
from stowage.services.system.disk import unique_bytes

blueprint = Blueprint("page_image", __name__)

_ATTESTATIONS = 100
"""Of how many attestations the types are shown."""


class ImageQuery(QuerySchema):
    """The platform that is shown, by default the one that lists show, or another one if only that is stored; `done` is what a form has just
    done.
    """

    done = fields.String(load_default="")
    platform = PlatformSpecifier(load_default=None)


@blueprint.get("/ui/images/<path:name>", query=ImageQuery, answer=PAGE, pace="quick")
def page_image(name: str) -> Response:
    """GET /ui/images/{name}."""
    engine, query = visible(), load_query()
    entry = find_image(engine, name)
    platform = query["platform"] or stored_platform(engine, entry)
    shown = inspect_image(engine, str(entry.id), platform=platform)
    layers = read_layers(engine, str(entry.id), platform=platform)
    attestations = [each.descriptor.digest for each in entry.manifests if each.kind is ManifestKind.ATTESTATION][:_ATTESTATIONS]
    facts: dict[str, Any] = {"shown": shown, "layers": layers, "predicates": read_predicate_types(engine, attestations)}
    given: dict[str, Any] = {"known_as": name_of(entry, name), "platform": platform, "done": query["done"]}
    return render("image.html", entry=entry, unique=unique_bytes, **facts, **given)
