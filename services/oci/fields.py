"""A JSON object read as Go reads it into a struct: keys in any case (the exact spelling first), null as absent, a wrong type an error.

Source: Go encoding/json, Unmarshal.
"""

from __future__ import annotations

from collections.abc import Mapping

from stowage.services.errors import InvalidContent

_INT64 = range(-(1 << 63), 1 << 63)


class Fields:
    """The members of one object; each method raises InvalidContent if the member has another type."""

    __slots__ = ("_folded", "_members", "_where")

    def __init__(self, value: object, where: str) -> None:
        """`where` names the object in errors."""
        if not isinstance(value, Mapping):
            raise unmarshal_error(value, where)
        self._members: Mapping[str, object] = value
        self._where = where
        self._folded: dict[str, object] | None = None

    def __contains__(self, name: str) -> bool:
        """Whether the key is present, null or not."""
        return name in self._members or name.casefold() in self._fold()

    def value(self, name: str) -> object:
        """The member as it is; None when absent or null."""
        if name in self._members:
            return self._members[name]
        return self._fold().get(name.casefold())

    def text(self, name: str) -> str:
        value = self.value(name)
        return "" if value is None else self._as_text(name, value)

    def integer(self, name: str) -> int:
        value = self.value(name)
        if value is None:
            return 0
        if not isinstance(value, int) or isinstance(value, bool) or value not in _INT64:
            raise self._mismatch(name, value, "int64")
        return value

    def boolean(self, name: str) -> bool:
        value = self.value(name)
        if value is None:
            return False
        if not isinstance(value, bool):
            raise self._mismatch(name, value, "bool")
        return value

    def array(self, name: str, wanted: str = "array") -> list[object] | None:
        """`wanted` is the Go type that errors name."""
        value = self.value(name)
        if value is not None and not isinstance(value, list):
            raise self._mismatch(name, value, wanted)
        return value

    def texts(self, name: str) -> tuple[str, ...] | None:
        """An array of strings; a null element is the empty string."""
        array = self.array(name, "[]string")
        return None if array is None else tuple("" if item is None else self._as_text(name, item) for item in array)

    def mapping(self, name: str) -> Mapping[str, object] | None:
        value = self.value(name)
        if value is not None and not isinstance(value, Mapping):
            raise self._mismatch(name, value, "object")
        return value

    def text_mapping(self, name: str) -> dict[str, str] | None:
        """An object whose members are strings; a null member is the empty string."""
        mapping = self.mapping(name)
        return None if mapping is None else {key: "" if item is None else self._as_text(name, item) for key, item in mapping.items()}

    def members(self, name: str) -> Fields | None:
        """An object that is itself read by its fields."""
        mapping = self.mapping(name)
        return None if mapping is None else Fields(mapping, f"{self._where}.{name}")

    def _as_text(self, name: str, value: object) -> str:
        if not isinstance(value, str):
            raise self._mismatch(name, value, "string")
        return value

    def _fold(self) -> dict[str, object]:
        if self._folded is None:
            self._folded = {key.casefold(): value for key, value in self._members.items()}
        return self._folded

    def _mismatch(self, name: str, value: object, wanted: str) -> InvalidContent:
        return InvalidContent(f"json: cannot unmarshal {_kind(value)} into Go struct field {self._where}.{name} of type {wanted}")


def unmarshal_error(value: object, wanted: str) -> InvalidContent:
    """The error for a document or an element that does not have the Go type `wanted`."""
    return InvalidContent(f"json: cannot unmarshal {_kind(value)} into Go value of type {wanted}")


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "bool"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
