"""GET /stowage/family: which images are built on which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump_long_list
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import QuerySchema, ResponseSchema
from stowage.services.images.family import Family, read_family

blueprint = Blueprint("facts_family", __name__)


@dataclass(frozen=True, slots=True)
class _Image:
    """An image beside what its member of the family says."""

    id: str
    name: str
    parent: str
    same: str
    layers: int
    size: int
    added_layers: int
    added: int


class FamilyQuery(QuerySchema):
    """Each `reference` is a pattern as in the filter of lists: then only what matches, what that is built on, and what is built on it."""

    references = fields.List(fields.String(), data_key="reference", load_default=())


class FamilyItem(ResponseSchema):
    """An image. `Parent` is the ID of the image that it is built on, empty if there is none; `Same` that of the first image with the same
    layers, empty if it is this one. `Added` is the bytes of the layers that the parent does not have.
    """

    id = fields.String(data_key="Id")
    name = fields.String(data_key="Name")
    parent = fields.String(data_key="Parent")
    same = fields.String(data_key="Same")
    layers = fields.Integer(data_key="Layers")
    size = fields.Integer(data_key="Size")
    added_layers = fields.Integer(data_key="AddedLayers")
    added = fields.Integer(data_key="Added")


@blueprint.get("/stowage/family", query=FamilyQuery, answer=Answer(FamilyItem, many=True), pace="listing")
def facts_family() -> Response:
    """GET /stowage/family."""
    engine = visible()
    family = read_family(engine, patterns=tuple(load_query()["references"]), most=engine.limits.family_images)
    return dump_long_list(_flatten(family), kept=False)


def _flatten(family: Family) -> Iterator[_Image]:
    for member in family.members:
        first = member.images[0].digest
        parent = member.parent.images[0].digest if member.parent else ""
        for image in member.images:
            same = "" if image.digest == first else first
            yield _Image(image.digest, image.name, parent, same, member.layers, image.size, member.added_layers, member.added)
