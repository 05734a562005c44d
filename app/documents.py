"""Documents generated from the code: `python -m stowage.app.documents` writes docs/settings.md and docs/api-versions.md."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path

from marshmallow import Schema, fields

from stowage.app.application import create_app
from stowage.app.settings import SETTINGS
from stowage.app.wiring import build_engine
from stowage.blueprints.routing import Route
from stowage.blueprints.schemas.base import ResponseSchema, innermost_field
from stowage.blueprints.versioning import MAX_API_VERSION, MIN_API_VERSION

_FOLDER = Path(__file__).parent.parent / "docs"
_SETTINGS_HEAD = """# Settings

Every setting is an environment variable. An invalid value, or a `STOWAGE_` variable that is not listed here, is refused at start.

| variable | default | meaning |
|---|---|---|
"""
_VERSIONS_HEAD = f"""# API versions

Stowage serves API {MIN_API_VERSION} to {MAX_API_VERSION}; a path without `/v<version>` means {MAX_API_VERSION}.
This page lists what differs between versions: parameters that are ignored, and fields that are left out, outside their versions,
and rules that change an answer. "Until" a version means that this version no longer has it.
"""


def settings_document() -> str:
    """docs/settings.md, from the table of settings."""
    rows = (f"| `{setting.name}` | {_code(setting.default)} | {setting.meaning} |\n" for setting in SETTINGS.values())
    return _SETTINGS_HEAD + "".join(rows)


def versions_document() -> str:
    """docs/api-versions.md, from the routes and their schemas."""
    sections = []
    for route in sorted(create_app(build=build_engine).url_map.iter_rules(), key=lambda rule: rule.rule):
        assert isinstance(route, Route)
        rows = list(_differences(route))
        if route.since > MIN_API_VERSION:
            rows.insert(0, f"| the route | since {route.since} | |\n")
        if rows:
            title = f"{', '.join(sorted(route.methods or ()))} {route.plain_path}"
            sections.append(f"\n## {title}\n\n| what | versions | |\n|---|---|---|\n" + "".join(rows))
    return _VERSIONS_HEAD + "".join(sections)


def write_documents() -> None:
    """Write both documents into docs/."""
    _FOLDER.mkdir(exist_ok=True)
    (_FOLDER / "settings.md").write_text(settings_document())
    (_FOLDER / "api-versions.md").write_text(versions_document())


def _differences(route: Route) -> Iterator[str]:
    """A row for each versioned parameter, field and rule of the schemas that a route declares."""
    yield from _field_rows(route.query, "parameter")
    for schema in _shapes(route.answer.schema):
        yield from _field_rows(schema, f"field of {schema.__name__}")
        for rule in schema.rules:
            yield f"| rule of {schema.__name__} | {_span(rule.versions)} | {_first_sentence(rule)} |\n"  # type: ignore[attr-defined]
    for older in route.answer.older:
        yield f"| {older.__name__} | {_span(older.versions)} | {_first_sentence(older)} |\n"  # type: ignore[attr-defined]


def _shapes(schema: object) -> list[type[ResponseSchema]]:
    """The schema of an answer, preceded by those that are nested in it."""
    if not (isinstance(schema, type) and issubclass(schema, ResponseSchema)):
        return []
    nested = [shape for field in schema.timeless().fields.values() for shape in _shapes(_nested(field))]
    return list(dict.fromkeys([*nested, schema]))


def _nested(field: object) -> object:
    """The class of the schema that is nested in a field, or in each of its elements, or None."""
    innermost = innermost_field(field)
    return type(innermost.schema) if isinstance(innermost, fields.Nested) else None


def _field_rows(schema: type[Schema], kind: str) -> Iterator[str]:
    for name, field in schema._declared_fields.items():
        key = f"`{field.data_key or name}`"
        if span := _span(field.metadata):
            yield f"| {kind} | {span} | {key} |\n"
        if span := _span(field.metadata.get("omit_empty", {})):
            yield f"| {kind} | {span} | {key} is left out where it is empty |\n"


def _span(versions: Mapping[str, object]) -> str:
    return " ".join(f"{word} {versions[word]}" for word in ("since", "until") if word in versions)


def _first_sentence(rule: object) -> str:
    """The first sentence of a rule's docstring, which says what changes for a client."""
    text = inspect.getdoc(rule)
    assert text, f"{rule} has no docstring"
    return " ".join(text.split()).removesuffix(".").partition(". ")[0] + "."


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


if __name__ == "__main__":
    write_documents()
