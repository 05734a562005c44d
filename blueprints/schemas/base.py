"""Schemas that know API versions.

A field's metadata says which versions have it: `metadata=since("1.48")`, `until("1.44")` (1.44 no longer has it),
`between("1.48", "1.52")`. Outside them it is neither loaded nor dumped. What metadata cannot express is a method of the schema with
`@version_rule(...)`. `OMIT_EMPTY` leaves a key out where Go's omitempty would, `omit_empty(...)` only in some versions, `OMIT_NULL` where
omitzero would; join them with `|`.

One instance per (class, version) is kept for the life of the process: a schema has no state but its version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from functools import cache
from operator import attrgetter
from typing import Any, ClassVar, Self, TypeVar

from marshmallow import EXCLUDE, Schema, fields, missing

from stowage.blueprints.versioning import MAX_API_VERSION, ApiVersion

_preparing: ContextVar[ApiVersion] = ContextVar("preparing", default=MAX_API_VERSION)
_describing: ContextVar[bool] = ContextVar("describing", default=False)

OMIT_EMPTY: dict[str, object] = {"omit_empty": {}}
"""Metadata of a response field that is left out when it is null, false, 0, "" or an empty list or object."""

OMIT_NULL: dict[str, object] = {"omit_null": True}
"""Metadata of a response field that is left out when it is null, and only then."""

REQUIRED: dict[str, object] = {"is_required": True}
"""Metadata of a parameter that has no default: what is wrong with the empty text is for the operation to say."""


def since(version: str) -> dict[str, object]:
    """Metadata of a field that this version introduced."""
    return {"since": ApiVersion.parse(version)}


def until(version: str) -> dict[str, object]:
    """Metadata of a field that this version no longer has."""
    return {"until": ApiVersion.parse(version)}


def between(first: str, gone: str) -> dict[str, object]:
    """Metadata of a field that `first` introduced and `gone` no longer has."""
    return since(first) | until(gone)


def omit_empty(versions: dict[str, object]) -> dict[str, object]:
    """Metadata of a response field that is left out when it is empty, in these versions."""
    return {"omit_empty": versions}


def applies(versions: Mapping[str, Any], version: ApiVersion) -> bool:
    """Whether metadata of `since`, `until` or `between` includes this version."""
    return bool(versions.get("since", version) <= version < versions.get("until", ApiVersion(version.major + 1, 0)))


Rule = TypeVar("Rule", bound=Callable[[Any, dict[str, Any], Any], None])


def version_rule(versions: dict[str, object]) -> Callable[[Rule], Rule]:
    """Mark a method `rule(self, shaped, value)` that changes the shaped object in place, in these versions. Rules run in the order of
    their definition.
    """

    def mark(method: Rule) -> Rule:
        setattr(method, "versions", versions)  # noqa: B010 - a function's type has no such attribute
        return method

    return mark


class _VersionedSchema(Schema):
    """A schema with the fields of one version; nested schemas have the same version."""

    def __init__(
        self, *, only: Any = None, exclude: Iterable[str] = (), many: bool = False, load_only: Any = (), dump_only: Any = ()
    ) -> None:
        self.client_version = _preparing.get()
        foreign = {name for name, field in self._declared_fields.items() if not applies(field.metadata, self.client_version)}
        if _describing.get():
            foreign = set()
        super().__init__(only=only, exclude=foreign | set(exclude), many=many, load_only=load_only, dump_only=dump_only)

    @classmethod
    @cache
    def at(cls, version: ApiVersion) -> Self:
        """The only instance for this version."""
        token = _preparing.set(version)
        try:
            return cls()
        finally:
            _preparing.reset(token)

    @classmethod
    def timeless(cls) -> Self:
        """An instance with the fields of every version, to describe them."""
        token = _describing.set(True)
        try:
            return cls()
        finally:
            _describing.reset(token)

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Build nested schemas now, while the version is known."""
        innermost = innermost_field(field_obj)
        if isinstance(innermost, fields.Nested):
            _ = innermost.schema


def innermost_field(field: Any) -> Any:
    """The field itself, or the one for what its lists and objects finally contain; None if that is not declared."""
    while isinstance(field, (fields.List, fields.Dict)):
        field = field.inner if isinstance(field, fields.List) else field.value_field
    return field


class QuerySchema(_VersionedSchema):
    """Parameters of a request. A List field takes every value, any other field the first; unknown parameters are ignored."""

    class Meta:
        unknown = EXCLUDE

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The value of each attribute if its parameter is missing or outside its versions: its `load_default`, else None."""
        return {name: _default(field.load_default) for name, field in cls._declared_fields.items()}


def _default(value: Any) -> Any:
    return None if value is missing else value() if callable(value) else value


class ResponseSchema(_VersionedSchema):
    """The shape of one object of a response, with its keys in the order of the fields."""

    rules: ClassVar[tuple[Callable[[Any, dict[str, Any], Any], None], ...]] = ()
    may_be_empty: ClassVar[bool] = True
    """False if at least one key is always present, although no particular one is."""

    def __init_subclass__(cls, **_: object) -> None:
        own = tuple(value for value in vars(cls).values() if hasattr(value, "versions"))
        cls.rules = cls.rules + own

    def __init__(
        self, *, only: Any = None, exclude: Iterable[str] = (), many: bool = False, load_only: Any = (), dump_only: Any = ()
    ) -> None:
        super().__init__(only=only, exclude=exclude, many=many, load_only=load_only, dump_only=dump_only)
        self._written = [(field.data_key or name, _reader(name, field), field._serialize, name) for name, field in self.dump_fields.items()]
        self._omitted = [field.data_key or name for name, field in self.dump_fields.items() if self._omits(field)]
        self._nullable = [field.data_key or name for name, field in self.dump_fields.items() if field.metadata.get("omit_null")]
        self._active = [rule for rule in self.rules if applies(rule.versions, self.client_version)]  # type: ignore[attr-defined]

    def _omits(self, field: fields.Field[Any]) -> bool:
        return "omit_empty" in field.metadata and applies(field.metadata["omit_empty"], self.client_version)

    def dump(self, obj: Any, *, many: bool | None = None) -> Any:
        """Shape an object, or a list of them: every field writes its attribute, then the rules run.

        This replaces marshmallow's own method, whose search for keys, paths and hooks would be most of the cost of a long list.
        """
        return [self._shape(each) for each in obj] if (self.many if many is None else many) else self._shape(obj)

    def _shape(self, value: Any) -> dict[str, Any]:
        shaped = {key: write(read(value), name, value) for key, read, write, name in self._written}
        for rule in self._active:
            rule(self, shaped, value)
        for key in self._omitted:
            if not shaped[key]:
                del shaped[key]
        for key in self._nullable:
            if shaped[key] is None:
                del shaped[key]
        return shaped


def _reader(name: str, field: fields.Field[Any]) -> Callable[[Any], Any]:
    """How a field gets its value: from an attribute or a path of them. A field with a `dump_default` always has that value; a Function
    reads the object itself.
    """
    if field.dump_default is not missing or isinstance(field, fields.Function):
        return lambda _: field.dump_default
    return attrgetter(field.attribute or name)
