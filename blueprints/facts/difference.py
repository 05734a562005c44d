"""GET /stowage/difference: two images, or two platforms of one, side by side."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint
from flask.typing import ResponseReturnValue
from marshmallow import fields, post_load

from stowage.blueprints.access import visible
from stowage.blueprints.client import compute
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer
from stowage.blueprints.schemas.base import ResponseSchema
from stowage.blueprints.schemas.file_items import FileEntry, FileSum, ListingQuery, listing_of
from stowage.blueprints.schemas.json_schema import BOOLEAN, INTEGER, TEXT, array, mapping, nullable, record, written_as
from stowage.blueprints.schemas.sides import SidesQuery, platforms_of
from stowage.services.errors import InvalidParameter
from stowage.services.images.difference import FileDifference, compare_images
from stowage.services.images.file_names import show_path
from stowage.services.images.files import View
from stowage.services.oci.config import History

blueprint = Blueprint("facts_difference", __name__)


class DifferenceQuery(SidesQuery, ListingQuery):
    """Two images, and which of their files."""

    @post_load
    def _require_both(self, query: dict[str, Any], **_: object) -> dict[str, Any]:
        if not query.get("left") or not query.get("right"):
            raise InvalidParameter("left and right must name the images to compare")
        if query.get("view") is View.WASTED:
            raise InvalidParameter("bytes are wasted in one image: view must be tree or flat")
        return query


class SideItem(ResponseSchema):
    """One of the two images."""

    name = fields.String(data_key="Name")
    id = fields.String(data_key="Id", attribute="descriptor.digest")
    platform = fields.String(data_key="Platform")


class ComparedLayer(ResponseSchema):
    """A layer and the step that made it."""

    digest = fields.String(data_key="Digest", attribute="descriptor.digest")
    diff_id = fields.Function(lambda layer: layer.diff_id and str(layer.diff_id), data_key="DiffId", metadata=written_as(nullable(TEXT)))
    size = fields.Integer(data_key="Size", attribute="descriptor.size")
    unpacked = fields.Integer(data_key="UnpackedSize", attribute="unpacked", allow_none=True)
    created_by = fields.String(data_key="CreatedBy")


class LayerSides(ResponseSchema):
    """Layers with the same content on both sides, and those that only one has."""

    same = fields.List(fields.Nested(ComparedLayer), data_key="Same")
    left = fields.List(fields.Nested(ComparedLayer), data_key="Left")
    right = fields.List(fields.Nested(ComparedLayer), data_key="Right")


class SettingItem(ResponseSchema):
    """A setting that differs; `Key` is the name of a variable, a label, a port or a volume. A side without it is null."""

    field = fields.String(data_key="Field")
    key = fields.String(data_key="Key")
    left = fields.String(data_key="Left", allow_none=True)
    right = fields.String(data_key="Right", allow_none=True)


def _steps(steps: tuple[History, ...]) -> list[dict[str, object]]:
    return [{"CreatedBy": step.created_by, "Created": str(step.created or ""), "EmptyLayer": step.empty_layer} for step in steps]


_STEPS = array(record({"CreatedBy": TEXT, "Created": TEXT, "EmptyLayer": BOOLEAN}))


class HistorySides(ResponseSchema):
    """How many steps at the beginning are the same, and those after them."""

    same = fields.Integer(data_key="Same")
    left = fields.Function(lambda history: _steps(history.left), data_key="Left", metadata=written_as(_STEPS))
    right = fields.Function(lambda history: _steps(history.right), data_key="Right", metadata=written_as(_STEPS))


def _changes(files: FileDifference) -> dict[str, object]:
    return {
        change.capitalize(): {"Files": before.files, "SizeBefore": before.bytes, "Size": after.bytes}
        for change, (before, after) in files.changes.items()
    }


_CHANGES = mapping(record({"Files": INTEGER, "SizeBefore": INTEGER, "Size": INTEGER}))


class FileSides(ResponseSchema):
    """All files of both sides, sums by kind of change, the largest differences, and a page of `Items`, of `Total`, in a directory.

    Among the largest, a directory that only one side has is one, with all that is in it.
    """

    left = fields.Nested(FileSum, data_key="Left")
    right = fields.Nested(FileSum, data_key="Right")
    changes = fields.Function(_changes, data_key="Changes", metadata=written_as(_CHANGES))
    largest = fields.List(fields.Nested(FileEntry), data_key="Largest")
    path = fields.Function(lambda files: show_path(files.path), data_key="Path", metadata=written_as(TEXT))
    total = fields.Integer(data_key="Total")
    items = fields.List(fields.Nested(FileEntry), data_key="Items")


class DifferenceItem(ResponseSchema):
    """Two images side by side. `Files` is null if one has none that can be listed; `Problem` says so, and what is missing otherwise."""

    left = fields.Nested(SideItem, data_key="Left")
    right = fields.Nested(SideItem, data_key="Right")
    layers = fields.Nested(LayerSides, data_key="Layers")
    settings = fields.List(fields.Nested(SettingItem), data_key="Settings")
    history = fields.Nested(HistorySides, data_key="History")
    files = fields.Nested(FileSides, data_key="Files", allow_none=True)
    problem = fields.String(data_key="Problem")


@blueprint.get("/stowage/difference", query=DifferenceQuery, answer=Answer(DifferenceItem))
def facts_difference() -> ResponseReturnValue:
    """GET /stowage/difference."""
    query = load_query()
    compare = partial(compare_images, visible(), query["left"], query["right"], listing=listing_of(query), **platforms_of(query))
    return dump(compute(compare))
