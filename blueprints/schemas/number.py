"""A parameter that is a whole number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from marshmallow import fields

from stowage.blueprints.schemas.json_schema import INTEGER, JsonSchema
from stowage.services.errors import InvalidParameter


class Number(fields.Field[int]):
    """A decimal number, not negative and of at most nine digits; empty text is the default."""

    json_schema: ClassVar[JsonSchema] = INTEGER | {"minimum": 0}

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> int:
        if not value:
            return int(self.load_default)
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise InvalidParameter(f"{self.data_key or attr} must be a number, not {value[:20]!r}")
        return int(value)
