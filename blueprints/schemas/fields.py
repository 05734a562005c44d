"""Fields that marshmallow does not have: Docker's booleans, filters, platforms and descriptors, and bounded numbers.

Source: moby daemon/server/httputils/form.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, ClassVar

from marshmallow import fields

from stowage.blueprints.schemas.json_schema import BOOLEAN, INTEGER, TEXT, JsonSchema, array, mapping, record
from stowage.services.errors import EngineError, InvalidParameter
from stowage.services.filters import Filters
from stowage.services.oci import gojson
from stowage.services.oci.descriptor import Descriptor
from stowage.services.oci.gojson import Fields
from stowage.services.oci.platform import Platform

PLATFORM = record({"architecture": TEXT, "os": TEXT}, {"os.version": TEXT, "os.features": array(TEXT), "variant": TEXT})
_DESCRIPTOR = record(
    {"mediaType": TEXT, "digest": TEXT, "size": INTEGER},
    {"urls": array(TEXT), "annotations": mapping(TEXT), "data": TEXT, "platform": PLATFORM, "artifactType": TEXT},
)
_JSON_TEXT = TEXT | {"contentMediaType": "application/json"}
_DIGITS = re.compile(r"[0-9]{1,12}", re.ASCII)
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?(?:([kmgtp])(i)?)?b?", re.ASCII | re.IGNORECASE)
_MOST_PLATFORMS = 50
_FALSE = frozenset({"", "0", "no", "false", "none"})


class DockerBool(fields.Field[bool]):
    """A parameter that is false when it is empty, 0, no, false or none, and true for any other text."""

    json_schema: ClassVar[JsonSchema] = BOOLEAN

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> bool:
        return str(value).strip().lower() not in _FALSE


class Count(fields.Field[int]):
    """A parameter that is a number from `least` to `most`; empty text is the default."""

    json_schema: ClassVar[JsonSchema] = INTEGER

    def __init__(self, *, load_default: int, most: int, least: int = 1) -> None:
        bounds = {"json_schema": {"minimum": least, "maximum": most, "default": load_default}}
        super().__init__(load_default=load_default, metadata=bounds)
        self._least, self._most, self._default = least, most, load_default

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        if not value:
            return self._default
        if not _DIGITS.fullmatch(value) or not self._least <= int(value) <= self._most:
            raise InvalidParameter(f"{self.data_key or self.name} must be a number from {self._least} to {self._most}")
        return int(value)


class Bytes(fields.Field[int]):
    """A parameter that is a size as Docker's CLI reads it, such as `1.5GB`, in decimal units (go-units FromHumanSize). With an `i`, such as
    `1GiB`, the units are binary (RAMInBytes; FromHumanSize ignores the letter).

    Errors name it by the `label` of its metadata, which is what a form calls it.
    """

    json_schema: ClassVar[JsonSchema] = TEXT

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        match = _SIZE.fullmatch(value.strip())
        if match is None:
            raise InvalidParameter(f"{self.metadata.get('label') or self.data_key or self.name} must be a size such as 500MB or 1.5GB")
        return int(float(match[1]) * (1024 if match[3] else 1000) ** ("kmgtp".index(match[2].lower()) + 1 if match[2] else 0))


class Choice(fields.Field[StrEnum]):
    """A parameter that is one of the values of an enumeration; empty text is the default."""

    def __init__(self, choices: type[StrEnum], *, load_default: StrEnum) -> None:
        described = {"json_schema": TEXT | {"enum": [str(choice) for choice in choices], "default": str(load_default)}}
        super().__init__(load_default=load_default, metadata=described)
        self._choices, self._default = choices, load_default

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> StrEnum:
        if value and value not in list(self._choices):
            raise InvalidParameter(f"{self.data_key or self.name} must be one of {', '.join(self._choices)}")
        return self._choices(value) if value else self._default


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


class PlatformList(fields.List[Any]):
    """Platforms, each written as the OCI JSON object and kept once; each is compared with every manifest that an image lists."""

    def __init__(self, **options: Any) -> None:
        super().__init__(PlatformJson(), load_default=(), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **options: Any) -> list[Any]:
        platforms = list(dict.fromkeys(super()._deserialize(value, attr, data, **options)))
        if len(platforms) > _MOST_PLATFORMS:
            raise InvalidParameter(f"{len(platforms)} platforms, of which a request may name at most {_MOST_PLATFORMS}")
        return platforms


class DescriptorField(fields.Field[Descriptor]):
    """A descriptor object of a response."""

    json_schema: ClassVar[JsonSchema] = _DESCRIPTOR

    def _serialize(self, value: Descriptor | None, attr: str | None, obj: Any, **_: Any) -> dict[str, object] | None:
        return value.to_json() if value else None
