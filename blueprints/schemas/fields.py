"""Fields that marshmallow does not have: Docker's booleans, filters and platforms.

Source: moby daemon/server/httputils/form.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import fields

from stowage.blueprints.schemas.json_schema import BOOLEAN, TEXT, JsonSchema
from stowage.services.errors import EngineError, InvalidParameter
from stowage.services.filters import Filters
from stowage.services.oci import gojson
from stowage.services.oci.fields import Fields
from stowage.services.oci.platform import Platform

_JSON_TEXT = TEXT | {"contentMediaType": "application/json"}
_FALSE = frozenset({"", "0", "no", "false", "none"})


class DockerBool(fields.Field[bool]):
    """A parameter that is false when it is empty, 0, no, false or none, and true for any other text."""

    json_schema: ClassVar[JsonSchema] = BOOLEAN

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        return str(value).strip().lower() not in _FALSE


class FiltersField(fields.Field[Filters]):
    """The `filters` parameter: JSON in Docker's map form or the array form of old clients. Without it there are no filters."""

    json_schema: ClassVar[JsonSchema] = _JSON_TEXT

    def __init__(self, *, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__(load_default=Filters(), metadata=metadata)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Filters:
        return Filters.parse(value)


class PlatformSpecifier(fields.Field[Platform | None]):
    """A platform written `os/arch/variant`; empty text means no platform."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Platform | None:
        return Platform.parse(value) if value else None


class PlatformJson(fields.Field[Platform | None]):
    """A platform written as the OCI JSON object; empty text means no platform, except as an element of a list."""

    json_schema: ClassVar[JsonSchema] = _JSON_TEXT

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Platform | None:
        if not value and not isinstance(self.parent, fields.List):
            return None
        try:
            document = gojson.decode(value.encode())
            platform = Platform.read(Fields({} if document is None else document, "v1.Platform"))
        except EngineError as exc:
            raise InvalidParameter(f"failed to parse platform: {exc}") from exc
        if not platform.os and not platform.architecture and (platform.variant or platform.os_version or platform.os_features):
            raise InvalidParameter("optional platform fields provided, but OS and Architecture are missing")
        if not platform.os or not platform.architecture:
            raise InvalidParameter("both OS and Architecture must be provided")
        return platform
