"""The parameters that name the two images of a comparison."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, post_load

from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import PlatformSpecifier
from stowage.services.oci.platform import Platform

_PLATFORMS = ("left_platform", "right_platform")


class SidesQuery(QuerySchema):
    """The names of two images, and the platform of each; `platform` is for those that have none of their own."""

    left = fields.String(load_default="")
    right = fields.String(load_default="")
    platform = PlatformSpecifier(load_default=None)
    left_platform = PlatformSpecifier(load_default=None, data_key="left-platform")
    right_platform = PlatformSpecifier(load_default=None, data_key="right-platform")

    @post_load
    def _apply_to_both(self, query: dict[str, Any], **_: object) -> dict[str, Any]:
        both = query.pop("platform", None)
        return query | {side: query.get(side) or both for side in _PLATFORMS}


def platforms_of(query: dict[str, Any]) -> dict[str, Platform | None]:
    """The platforms of both, as arguments for `compare_images`."""
    return {side: query[side] for side in _PLATFORMS}
