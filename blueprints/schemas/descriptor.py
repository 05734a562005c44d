"""Descriptors and platforms on the wire, in the form of the OCI image spec."""

from __future__ import annotations

from typing import Any, ClassVar

from marshmallow import fields

from stowage.blueprints.schemas.json_schema import INTEGER, TEXT, JsonSchema, array, mapping, record
from stowage.services.oci.descriptor import Descriptor

PLATFORM = record({"architecture": TEXT, "os": TEXT}, {"os.version": TEXT, "os.features": array(TEXT), "variant": TEXT})
_DESCRIPTOR = record(
    {"mediaType": TEXT, "digest": TEXT, "size": INTEGER},
    {"urls": array(TEXT), "annotations": mapping(TEXT), "data": TEXT, "platform": PLATFORM, "artifactType": TEXT},
)


class DescriptorField(fields.Field[Descriptor]):
    """A descriptor object of a response."""

    json_schema: ClassVar[JsonSchema] = _DESCRIPTOR

    def _serialize(self, value: Descriptor | None, attr: str | None, obj: Any, **_: Any) -> dict[str, object] | None:
        return value.to_json() if value else None
