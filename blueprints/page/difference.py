"""Two images, or two platforms of one, side by side."""

from __future__ import annotations

from functools import partial
from typing import Any
from urllib.parse import quote

from flask import Blueprint, redirect
from flask.typing import ResponseReturnValue
from marshmallow import fields, post_load

from stowage.blueprints.access import visible
from stowage.blueprints.client import compute
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.file_list import FileEntry, FileSum, ListingPageQuery, ListingQuery, listing_of, render_files
from stowage.blueprints.request import load_query
from stowage.blueprints.response import dump
from stowage.blueprints.routing import Answer, current_route
from stowage.blueprints.schemas.base import REQUIRED, QuerySchema, ResponseSchema
from stowage.blueprints.schemas.fields import DockerBool, PlatformSpecifier
from stowage.blueprints.schemas.json_schema import BOOLEAN, INTEGER, TEXT, array, mapping, nullable, record, written_as
from stowage.services.errors import InvalidParameter
from stowage.services.images.browse import browse_siblings, find_image, find_previous
from stowage.services.images.difference import FileDifference, ImageDifference, compare_images
from stowage.services.images.file_views import show_path
from stowage.services.images.files import View
from stowage.services.oci.config import History

blueprint = Blueprint("page_difference", __name__)

_PLATFORMS = ("left_platform", "right_platform")
_SIBLINGS = 20
"""How many other images of a repository are offered."""


class SidesQuery(QuerySchema):
    """The names of two images, and the platform of each; `platform` is for those that have none of their own."""

    left = fields.String(load_default="", metadata=REQUIRED)
    right = fields.String(load_default="", metadata=REQUIRED)
    platform = PlatformSpecifier(load_default=None)
    left_platform = PlatformSpecifier(load_default=None, data_key="left-platform")
    right_platform = PlatformSpecifier(load_default=None, data_key="right-platform")

    @post_load
    def _apply_to_both(self, query: dict[str, Any], **_: object) -> dict[str, Any]:
        both = query.pop("platform", None)
        return query | {side: query.get(side) or both for side in _PLATFORMS}


class DifferencePageQuery(SidesQuery, ListingPageQuery):
    """The two images, and which of their files. With `previous` and one image, the other is the one before it in its repository."""

    previous = DockerBool(load_default=False)
    sort = fields.String(load_default="-growth")


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


@blueprint.get("/ui/difference", query=DifferencePageQuery, answer=PAGE)
@blueprint.get("/stowage/difference", query=DifferenceQuery, answer=Answer(DifferenceItem))
def page_difference() -> ResponseReturnValue:
    """GET /ui/difference and /stowage/difference: two images, or two platforms of one, side by side."""
    query = load_query()
    return _show(query) if current_route().is_page else dump(_compare(query, query["left"], query["right"]))


def _compare(query: dict[str, Any], left: str, right: str) -> ImageDifference:
    platforms = {side: query[side] for side in _PLATFORMS}
    return compute(partial(compare_images, visible(), left, right, listing=listing_of(query), **platforms))


def _show(query: dict[str, Any]) -> ResponseReturnValue:
    left, right = query["left"].strip(), query["right"].strip()
    if not left or not right:
        return _choose(query, left or right)
    found = _compare(query, left, right)
    path, total = (found.files.path, found.files.total) if found.files else ("", 0)
    return render_files("difference.html", path=path, total=total, given=query, found=found, names=_names(query, found))


def _choose(query: dict[str, Any], name: str) -> ResponseReturnValue:
    """Offer images to compare this one with, or go to the comparison with the previous one."""
    if not name:
        return render("difference.html", found=None, given=query, siblings=())
    image, previous = find_image(visible(), name), find_previous(visible(), name)
    platform = query["left_platform"] or query["right_platform"]
    of_platform = f"&platform={quote(str(platform), safe='')}" if platform else ""
    if query["previous"] and previous:
        return redirect(f"/ui/difference?left={quote(previous.repo_tags[0], safe='')}&right={quote(name, safe='')}{of_platform}")
    siblings = browse_siblings(visible(), name, _SIBLINGS)
    choice: dict[str, Any] = {"siblings": siblings, "image": image, "previous": previous, "of_platform": of_platform}
    return render("difference.html", found=None, given=query, **choice)


def _names(query: dict[str, Any], found: ImageDifference) -> dict[str, str]:
    """What the two images are called, with their platforms if those were asked for or the names are the same."""
    is_same = query["left"].strip() == query["right"].strip()
    return {
        side: f"{image.name} ({image.platform})" if is_same or query[f"{side}_platform"] else image.name
        for side, image in (("left", found.left), ("right", found.right))
    }
