"""GET /system/df: the disk usage of images; there is nothing else.

API 1.52 introduced an object per type. The lists of older versions remain beside them, except for a client that sends `verbose`.

Source: moby daemon/server/router/system/system_routes.go getDiskUsage, disk_usage.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, cast

from flask import Blueprint, Response
from marshmallow import fields

from stowage.blueprints.images import list as list_
from stowage.blueprints.request import engine, load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import OMIT_EMPTY, OMIT_NULL, QuerySchema, ResponseSchema, since, until, version_rule
from stowage.blueprints.schemas.fields import DockerBool
from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, JsonSchema, array, component, constant, written_as
from stowage.blueprints.versioning import MAX_API_VERSION
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


class DiskUsageQuery(QuerySchema):
    types = fields.List(ObjectTypeField(), data_key="type", load_default=tuple(ObjectType), metadata=since("1.42"))
    verbose = DockerBool(load_default=False, metadata=since("1.52"))


def _list_images(usage: DiskUsage) -> list[dict[str, object]]:
    """The images as the newest version lists them; Docker applies the list's rules for older versions only to the list itself."""
    return cast("list[dict[str, object]]", list_.ImageItem.at(MAX_API_VERSION).dump(usage.images, many=True))


_IMAGES = written_as(array(component("ImageItem")))


class ImageUsageResponse(ResponseSchema):
    """The disk space that images take. None is active, since no container uses one, so all of it can be reclaimed."""

    items = fields.Function(_list_images, data_key="Items", metadata=_IMAGES | OMIT_EMPTY)
    reclaimable = fields.Integer(data_key="Reclaimable", attribute="image_bytes", dump_only=True, metadata=OMIT_EMPTY)
    total_count = fields.Function(lambda usage: len(usage.images), data_key="TotalCount", metadata=written_as(INTEGER) | OMIT_EMPTY)
    total_size = fields.Integer(data_key="TotalSize", attribute="image_bytes", metadata=OMIT_EMPTY)


def _asked(object_type: ObjectType, shape: Callable[[DiskUsage], object]) -> Callable[[DiskUsage], object]:
    """What is reported of a type, or None if it was not requested."""
    return lambda usage: shape(usage) if object_type in usage.types else None


_of_images = partial(_asked, ObjectType.IMAGE)
_no_usage = partial(_asked, shape=lambda _: {})
_no_items = partial(_asked, shape=lambda _: [])
_IMAGE_USAGE = written_as(component("ImageUsageResponse")) | since("1.52") | OMIT_NULL
_NO_USAGE = written_as(constant({})) | since("1.52") | OMIT_NULL
_NO_ITEMS = written_as(constant([])) | OMIT_NULL


class VerboseDiskUsageResponse(ResponseSchema):
    """An object per requested type (moby api/types/system/disk_usage.go)."""

    may_be_empty = False

    images_usage = fields.Function(_of_images(ImageUsageResponse().dump), data_key="ImageUsage", metadata=_IMAGE_USAGE)
    container_usage = fields.Function(_no_usage(ObjectType.CONTAINER), data_key="ContainerUsage", metadata=_NO_USAGE)
    volume_usage = fields.Function(_no_usage(ObjectType.VOLUME), data_key="VolumeUsage", metadata=_NO_USAGE)
    build_cache_usage = fields.Function(_no_usage(ObjectType.BUILD_CACHE), data_key="BuildCacheUsage", metadata=_NO_USAGE)


class DiskUsageResponse(VerboseDiskUsageResponse):
    """The same objects, a list per requested type, and the bytes of all images."""

    layers_size = fields.Integer(data_key="LayersSize", attribute="image_bytes", metadata=OMIT_EMPTY)
    images = fields.Function(_of_images(_list_images), data_key="Images", metadata=_IMAGES | OMIT_NULL)
    containers = fields.Function(_no_items(ObjectType.CONTAINER), data_key="Containers", metadata=_NO_ITEMS)
    volumes = fields.Function(_no_items(ObjectType.VOLUME), data_key="Volumes", metadata=_NO_ITEMS)
    build_cache = fields.Function(_no_items(ObjectType.BUILD_CACHE), data_key="BuildCache", metadata=_NO_ITEMS)

    @version_rule(until("1.44"))
    def _tell_virtual_sizes(self, shaped: dict[str, Any], _: DiskUsage) -> None:
        """Each of `Images` has `VirtualSize`, which equals its `Size`."""
        for image in shaped["Images"] or ():
            image["VirtualSize"] = image["Size"]


@blueprint.get("/system/df", query=DiskUsageQuery, answer=Answer(DiskUsageResponse, uses=(ImageUsageResponse,)), quick=True)
def system_df() -> Response:
    """GET /system/df."""
    query = load_query()
    schema = VerboseDiskUsageResponse if query["verbose"] else DiskUsageResponse
    return dump(read_disk_usage(engine(), types=query["types"]), schema)
