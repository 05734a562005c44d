"""Parameters and parts of answers that several routes of images have.

Source: moby api/types/image (manifest.go, identity.go, delete_response.go).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import request
from marshmallow import fields, pre_load

from stowage.blueprints.schemas.base import OMIT_EMPTY, QuerySchema, ResponseSchema, since
from stowage.blueprints.schemas.fields import PLATFORM, DescriptorField, DockerBool, PlatformList
from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, array, constant, record, written_as
from stowage.blueprints.versioning import ApiVersion
from stowage.services.errors import InvalidParameter
from stowage.services.metadata.summary import ManifestKind, ManifestSummary

_TOTALS_HEADER = "X-Stowage-Totals"
_SEVERAL_SINCE = ApiVersion.parse("1.52")
IDENTITY = record({"Pull": array(record({"Repository": TEXT}))})
_SIZE = record({"Content": INTEGER, "Total": INTEGER})
_IMAGE_DATA = record(
    {"Platform": PLATFORM, "Size": record({"Unpacked": INTEGER}), "Containers": constant(None)},
    {"Identity": IDENTITY | {"x-since": "1.54"}},
)
_ATTESTATION_DATA = record({"For": TEXT})


class PlatformsQuery(QuerySchema):
    """The platforms of a save or a load: none, one, or, since API 1.52, several."""

    platforms = PlatformList(data_key="platform", metadata=since("1.48"))

    @pre_load
    def _refuse_several(self, given: dict[str, Any], **_: Any) -> dict[str, Any]:
        if self.client_version < _SEVERAL_SINCE and len(given.get("platform", ())) > 1:
            raise InvalidParameter("multiple platform parameters are not supported in this API version; use API version 1.52 or later")
        return given


class TotalsQuery(QuerySchema):
    """Parameters with one that Docker does not have, under a name that it will not take: it adds a line about the whole operation to the
    progress of a pull or push.

    A docker CLI cannot send a parameter, but sends the headers that its configuration has under `HttpHeaders`. So a header says the same.
    """

    totals = DockerBool(data_key="stowage.totals", load_default=False)


def wants_totals(query: dict[str, Any]) -> bool:
    """Whether the parameter or the header requests the line."""
    return bool(query["totals"] or DockerBool().deserialize(request.headers.get(_TOTALS_HEADER, "")))


def _image_properties(manifest: ManifestSummary) -> dict[str, object] | None:
    """The properties that only the manifest of an image has. Nothing is ever unpacked, and no container uses it."""
    if manifest.kind is not ManifestKind.IMAGE:
        return None
    return {"Platform": manifest.platform.to_json(), "Size": {"Unpacked": 0}, "Containers": None}


def _attestation_properties(manifest: ManifestSummary) -> dict[str, object] | None:
    return {"For": str(manifest.attests)} if manifest.attests else None


def shape_identity(repositories: Iterable[str]) -> dict[str, object] | None:
    """Where an image came from, or None if this is unknown. Nothing is built here, and no signature is verified."""
    pulls = [{"Repository": name} for name in repositories]
    return {"Pull": pulls} if pulls else None


class ManifestItem(ResponseSchema):
    """One manifest that an image has or lists."""

    id = fields.String(data_key="ID", attribute="descriptor.digest")
    descriptor = DescriptorField(data_key="Descriptor")
    available = fields.Boolean(data_key="Available")
    size = fields.Function(lambda manifest: {"Content": manifest.size, "Total": manifest.size}, data_key="Size", metadata=written_as(_SIZE))
    kind = fields.String(data_key="Kind")
    image_data = fields.Function(_image_properties, data_key="ImageData", metadata=written_as(_IMAGE_DATA) | OMIT_EMPTY)
    attestation_data = fields.Function(
        _attestation_properties, data_key="AttestationData", metadata=written_as(_ATTESTATION_DATA) | OMIT_EMPTY
    )


class RemovalItem(ResponseSchema):
    """A name that was untagged, or an image that was deleted."""

    may_be_empty = False

    deleted = fields.String(data_key="Deleted", metadata=OMIT_EMPTY)
    untagged = fields.String(data_key="Untagged", metadata=OMIT_EMPTY)
