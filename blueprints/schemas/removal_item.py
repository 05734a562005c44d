"""The outcome of a delete or a prune.

Source: moby api/types/image (delete_response.go).
"""

from __future__ import annotations

from marshmallow import fields

from stowage.blueprints.schemas.base import OMIT_EMPTY, ResponseSchema


class RemovalItem(ResponseSchema):
    """A name that was untagged, or an image that was deleted."""

    may_be_empty = False

    deleted = fields.String(data_key="Deleted", metadata=OMIT_EMPTY)
    untagged = fields.String(data_key="Untagged", metadata=OMIT_EMPTY)
