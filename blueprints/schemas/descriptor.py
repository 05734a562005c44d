"""Descriptors and platforms on the wire, in the form of the OCI image spec."""

from __future__ import annotations

from typing import Any

from marshmallow import fields

from services.oci.descriptor import Descriptor


class DescriptorField(fields.Field[Descriptor]):
    """A descriptor object of a response."""

    def _serialize(self, value: Descriptor | None, attr: str | None, obj: Any, **_: Any) -> dict[str, object] | None:
        return value.to_json() if value else None
