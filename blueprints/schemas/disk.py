"""The shapes of the disk picture."""

from __future__ import annotations

from marshmallow import fields

from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.schemas.json_schema import INTEGER, mapping, written_as
from stowage.services.system.disk import unique_bytes


class AmountItem(ResponseSchema):
    """Blobs, and their bytes."""

    count = fields.Integer(data_key="Count")
    bytes = fields.Integer(data_key="Size")


class RepositoryItem(ResponseSchema):
    """How many images have their first name in a repository, and the bytes that only one image has, of all of these. Images without a name
    are in the repository with the empty name.
    """

    repository = fields.String(data_key="Repository")
    images = fields.Integer(data_key="Images")
    unique = fields.Integer(data_key="UniqueSize")


class SharedLayerItem(ResponseSchema):
    """A blob that several images have, how many do, and the name of one of these, which may be empty."""

    digest = fields.String(data_key="Digest")
    size = fields.Integer(data_key="Size")
    users = fields.Integer(data_key="Images")
    name = fields.String(data_key="Example")


class DiskImageItem(ResponseSchema):
    """An image, and how many of its bytes other images have too, or only this one."""

    id = fields.String(data_key="Id")
    repo_tags = fields.Raw(data_key="RepoTags", metadata=written_as({"type": "array", "items": {"type": "string"}}))
    created = fields.Integer(data_key="Created")
    size = fields.Integer(data_key="Size")
    shared_size = fields.Integer(data_key="SharedSize")
    unique = fields.Function(unique_bytes, data_key="UniqueSize", metadata=written_as(INTEGER))


class DiskPictureResponse(ResponseSchema):
    """The parts, from `Unique` to `Derived`, add up to `Total`. A prune removes what is `Unneeded`; an operation that has not ended keeps
    what is `Leased`.
    """

    total = fields.Integer(data_key="Total")
    free = fields.Integer(data_key="Free")
    images = fields.Integer(data_key="Images")
    dangling = fields.Integer(data_key="Dangling")
    unique = fields.Nested(AmountItem, data_key="Unique")
    shared = fields.Nested(AmountItem, data_key="Shared")
    unneeded = fields.Nested(AmountItem, data_key="Unneeded")
    leased = fields.Nested(AmountItem, data_key="Leased")
    partials = fields.Nested(AmountItem, attribute="partial", data_key="Partial")
    derived = fields.Raw(data_key="Derived", metadata=written_as(mapping(INTEGER)))
    repositories = fields.List(fields.Nested(RepositoryItem), data_key="Repositories")
    layers = fields.List(fields.Nested(SharedLayerItem), data_key="SharedLayers")
    largest = fields.List(fields.Nested(DiskImageItem), data_key="LargestImages")
