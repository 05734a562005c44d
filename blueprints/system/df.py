"""GET /system/df: the disk usage of images; there is nothing else.

API 1.52 introduced an object per type, with its items if the client sends `verbose=1`, and totals alone with `verbose=0`. A client that
sends neither gets the items and the lists of older versions.

Source: moby daemon/server/router/system/system_routes.go getDiskUsage, disk_usage.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

import orjson
from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.images import list as list_
from stowage.blueprints.request import engine, load_query
from stowage.blueprints.response import dump_items
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import OMIT_EMPTY, OMIT_NULL, QuerySchema, ResponseSchema, applies, since, until
from stowage.blueprints.schemas.json_schema import BOOLEAN, TEXT, JsonSchema, array, component, constant, written_as
from stowage.blueprints.versioning import MAX_API_VERSION, api_version
from stowage.services.errors import InvalidParameter
from stowage.services.system.df import DiskUsage, ObjectType, read_disk_usage

blueprint = Blueprint("system_df", __name__)


class ObjectTypeField(fields.Field[ObjectType]):
    """One of the types by its name."""

    json_schema: ClassVar[JsonSchema] = TEXT | {"enum": [str(kind) for kind in ObjectType]}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> ObjectType:
        try:
            return ObjectType(value)
        except ValueError as exc:
            raise InvalidParameter(f"unknown object type: {value}") from exc


class VerboseField(fields.Field[bool | None]):
    """A truth as Go's strconv.ParseBool reads it; None if it is empty, as if it were absent."""

    json_schema: ClassVar[JsonSchema] = BOOLEAN

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool | None:
        if value in ("1", "t", "T", "TRUE", "true", "True"):
            return True
        if value in ("0", "f", "F", "FALSE", "false", "False"):
            return False
        if value:
            raise InvalidParameter(f"invalid value for verbose: {value}")
        return None


class DiskUsageQuery(QuerySchema):
    types = fields.List(ObjectTypeField(), data_key="type", load_default=tuple(ObjectType), metadata=since("1.42"))
    verbose = VerboseField(load_default=None, metadata=since("1.52"))


_ITEMS_HERE = "the items of the list"
"""Stands for the items of a list while the rest of the answer is shaped: they are read and encoded as they are sent."""


def _items_here(usage: DiskUsage) -> list[str]:
    return [_ITEMS_HERE] if usage.image_count else []


_IMAGES = written_as(array(component("ImageItem")))


class ImageUsageResponse(ResponseSchema):
    """The disk space that images take. None is active, since no container uses one, so all of it can be reclaimed."""

    reclaimable = fields.Integer(data_key="Reclaimable", attribute="image_bytes", dump_only=True, metadata=OMIT_EMPTY)
    total_count = fields.Integer(data_key="TotalCount", attribute="image_count", metadata=OMIT_EMPTY)
    total_size = fields.Integer(data_key="TotalSize", attribute="image_bytes", metadata=OMIT_EMPTY)


class VerboseImageUsageResponse(ImageUsageResponse):
    """The same with the images as the newest version lists them."""

    items = fields.Function(_items_here, data_key="Items", metadata=_IMAGES | OMIT_EMPTY)


def _asked(object_type: ObjectType, shape: Callable[[DiskUsage], object]) -> Callable[[DiskUsage], object]:
    """What is reported of a type, or None if it was not requested."""
    return lambda usage: shape(usage) if object_type in usage.types else None


_of_images = partial(_asked, ObjectType.IMAGE)
_no_usage = partial(_asked, shape=lambda _: {})
_no_items = partial(_asked, shape=lambda _: [])
_IMAGE_USAGE = written_as(component("ImageUsageResponse")) | since("1.52") | OMIT_NULL
_VERBOSE_IMAGE_USAGE = written_as(component("VerboseImageUsageResponse")) | since("1.52") | OMIT_NULL
_NO_USAGE = written_as(constant({})) | since("1.52") | OMIT_NULL
_NO_ITEMS = written_as(constant([])) | OMIT_NULL


class DiskUsageTotals(ResponseSchema):
    """An object per requested type (moby api/types/system/disk_usage.go)."""

    may_be_empty = False

    images_usage = fields.Function(_of_images(ImageUsageResponse().dump), data_key="ImageUsage", metadata=_IMAGE_USAGE)
    container_usage = fields.Function(_no_usage(ObjectType.CONTAINER), data_key="ContainerUsage", metadata=_NO_USAGE)
    volume_usage = fields.Function(_no_usage(ObjectType.VOLUME), data_key="VolumeUsage", metadata=_NO_USAGE)
    build_cache_usage = fields.Function(_no_usage(ObjectType.BUILD_CACHE), data_key="BuildCacheUsage", metadata=_NO_USAGE)


class VerboseDiskUsageResponse(DiskUsageTotals):
    """The same with the items of each."""

    images_usage = fields.Function(_of_images(VerboseImageUsageResponse().dump), data_key="ImageUsage", metadata=_VERBOSE_IMAGE_USAGE)


class DiskUsageResponse(VerboseDiskUsageResponse):
    """The same objects, a list per requested type, and the bytes of all images."""

    layers_size = fields.Integer(data_key="LayersSize", attribute="image_bytes", metadata=OMIT_EMPTY)
    images = fields.Function(_of_images(_items_here), data_key="Images", metadata=_IMAGES | OMIT_NULL)
    containers = fields.Function(_no_items(ObjectType.CONTAINER), data_key="Containers", metadata=_NO_ITEMS)
    volumes = fields.Function(_no_items(ObjectType.VOLUME), data_key="Volumes", metadata=_NO_ITEMS)
    build_cache = fields.Function(_no_items(ObjectType.BUILD_CACHE), data_key="BuildCache", metadata=_NO_ITEMS)


class OldItem(list_.ImageItem):
    """An image has `VirtualSize`, which equals `Size`, and is otherwise as the newest version lists it. Docker applies the other rules for
    old versions only to the list itself.
    """

    versions: ClassVar[dict[str, object]] = until("1.44")

    old_size = fields.Integer(attribute="size", data_key="VirtualSize", dump_only=True)


@blueprint.get(
    "/system/df",
    query=DiskUsageQuery,
    answer=Answer(DiskUsageResponse, uses=(ImageUsageResponse, VerboseImageUsageResponse), older=(OldItem,)),
    pace="listing",
)
def system_df() -> Response:
    """GET /system/df."""
    query = load_query()
    usage = read_disk_usage(engine(), types=query["types"])
    schema = {None: DiskUsageResponse, True: VerboseDiskUsageResponse, False: DiskUsageTotals}[query.get("verbose")]
    item = OldItem if applies(OldItem.versions, api_version()) else list_.ImageItem
    texts = orjson.dumps(schema.at(api_version()).dump(usage), option=orjson.OPT_APPEND_NEWLINE).split(orjson.dumps(_ITEMS_HERE))
    return dump_items(texts, usage.images, item.at(MAX_API_VERSION), kept=True)
