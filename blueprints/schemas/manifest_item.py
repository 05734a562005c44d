"""A manifest of an image, and where an image came from, as list and inspect show them.

Source: moby api/types/image (manifest.go, identity.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from marshmallow import fields

from stowage.blueprints.schemas.base import OMIT_EMPTY, ResponseSchema
from stowage.blueprints.schemas.descriptor import PLATFORM, DescriptorField
from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, array, constant, record, written_as
from stowage.services.metadata.summary import ManifestKind, ManifestSummary

IDENTITY = record({"Pull": array(record({"Repository": TEXT}))})
_SIZE = record({"Content": INTEGER, "Total": INTEGER})
_IMAGE_DATA = record(
    {"Platform": PLATFORM, "Size": record({"Unpacked": INTEGER}), "Containers": constant(None)},
    {"Identity": IDENTITY | {"x-since": "1.54"}},
)
_ATTESTATION_DATA = record({"For": TEXT})


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
