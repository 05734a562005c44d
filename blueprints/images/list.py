"""GET /images/json: the images of the store, newest first."""

from __future__ import annotations

from typing import Any

import orjson
from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields, post_load

from stowage.blueprints.request import engine, load_query
from stowage.blueprints.response import dump_long_list
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import OMIT_EMPTY, QuerySchema, ResponseSchema, since, until, version_rule
from stowage.blueprints.schemas.fields import DescriptorField, DockerBool, FiltersField
from stowage.blueprints.schemas.images import ManifestItem, shape_identity
from stowage.blueprints.schemas.json_schema import TEXT, array, mapping, nullable, written_as
from stowage.services.errors import InvalidParameter
from stowage.services.images.list import ListedImage, list_images

blueprint = Blueprint("image_list", __name__)


class ListQuery(QuerySchema):
    """`all` and `digests` have no effect: there are no intermediate images, and digests are always shown."""

    all = DockerBool(load_default=False)
    digests = DockerBool(load_default=False)
    filters = FiltersField()
    filter = fields.String(metadata=until("1.41"))
    shared_size = DockerBool(data_key="shared-size", load_default=False, metadata=since("1.42"))
    manifests = DockerBool(load_default=False, metadata=since("1.47"))
    identity = DockerBool(load_default=False, metadata=since("1.54"))

    @post_load
    def _settle(self, query: dict[str, Any], **_: object) -> dict[str, Any]:
        """Add the old `filter` as another reference filter, and require `manifests` with `identity`."""
        if old := query.pop("filter", ""):
            query["filters"] = query["filters"].adding("reference", old)
        if query.get("identity") and not query["manifests"]:
            raise InvalidParameter("conflicting options: identity requires manifests=1")
        return query


_NAMES = written_as(nullable(array(TEXT)))


def _labels(image: ListedImage) -> orjson.Fragment | None:
    """The labels as they are stored: there may be very many, so they are not parsed."""
    return None if image.labels is None else orjson.Fragment(image.labels)


class ImageItem(ResponseSchema):
    """An image of the list (moby api/types/image/summary.go)."""

    containers = fields.Integer(data_key="Containers")
    created = fields.Integer(data_key="Created")
    id = fields.String(data_key="Id")
    labels = fields.Function(_labels, data_key="Labels", metadata=written_as(nullable(mapping(TEXT))))
    parent_id = fields.Constant("", data_key="ParentId")
    descriptor = DescriptorField(data_key="Descriptor", metadata=since("1.48"))
    manifests = fields.List(fields.Nested(ManifestItem), data_key="Manifests", metadata=since("1.47") | OMIT_EMPTY)
    repo_digests = fields.Raw(data_key="RepoDigests", metadata=_NAMES)
    repo_tags = fields.Raw(data_key="RepoTags", metadata=_NAMES)
    shared_size = fields.Integer(data_key="SharedSize")
    size = fields.Integer(data_key="Size")
    virtual_size = fields.Integer(attribute="size", data_key="VirtualSize", dump_only=True, metadata=until("1.44"))

    @version_rule(until("1.43"))
    def _name_the_nameless(self, shaped: dict[str, Any], _: ListedImage) -> None:
        """An image without names has `RepoTags` `<none>:<none>` and `RepoDigests` `<none>@<none>`; if it has any, an empty list is null."""
        if shaped["RepoTags"] or shaped["RepoDigests"]:
            shaped["RepoTags"], shaped["RepoDigests"] = shaped["RepoTags"] or None, shaped["RepoDigests"] or None
        else:
            shaped["RepoTags"], shaped["RepoDigests"] = ["<none>:<none>"], ["<none>@<none>"]

    @version_rule(until("1.51"))
    def _count_no_containers(self, shaped: dict[str, Any], _: ListedImage) -> None:
        """`Containers` is -1, which means that they were not counted."""
        shaped["Containers"] = -1

    @version_rule(since("1.54"))
    def _tell_identity(self, shaped: dict[str, Any], image: ListedImage) -> None:
        """If `identity` is requested and known, every available image manifest has its image's `Identity` in its `ImageData`."""
        if identity := shape_identity(image.repositories):
            for manifest in shaped["Manifests"]:
                if manifest["Available"] and "ImageData" in manifest:
                    manifest["ImageData"]["Identity"] = identity


@blueprint.get("/images/json", query=ListQuery, answer=Answer(ImageItem, many=True), pace="listing")
def image_list() -> ResponseReturnValue:
    """GET /images/json."""
    query = load_query()
    images = list_images(
        engine(), filters=query["filters"], shared_size=query["shared_size"], manifests=query["manifests"], identity=query["identity"]
    )
    return dump_long_list(images, kept=not (query["manifests"] or query["identity"]))
