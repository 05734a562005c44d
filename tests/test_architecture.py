"""Rules of the code that import-linter and ruff do not know."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from flask import Blueprint, Flask

import stowage.blueprints
from stowage.application import create_app
from stowage.blueprints import BLUEPRINTS, PAGE_BLUEPRINTS
from stowage.blueprints.routing import Route
from stowage.blueprints.system import absent
from stowage.settings import Config
from stowage.wiring import build_engine

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "blueprints", "services")
MODULES = [ROOT / "wsgi.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
ENDPOINT_FOLDERS = ("facts", "images", "distribution", "page", "system")

MODULE_LINES = 300
TEST_MODULE_LINES = 400
FUNCTION_LINES = 40
VIEW_LINES = 15
BANNED_NAMES = ("Manager", "Helper", "Util")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef))


def endpoint_modules() -> list[str]:
    """Names of the modules that hold one endpoint each."""
    return [
        f"stowage.blueprints.{folder}.{module.name}"
        for folder in ENDPOINT_FOLDERS
        if (ROOT / "blueprints" / folder / "__init__.py").exists()
        for module in pkgutil.iter_modules([str(ROOT / "blueprints" / folder)])
    ]


def endpoint_blueprint(module: ModuleType) -> Blueprint:
    """The one blueprint of an endpoint's module."""
    (own,) = [value for value in vars(module).values() if isinstance(value, Blueprint)]
    return own


def routed(root: Path) -> Flask:
    """The application with every route."""
    return create_app(Config.from_environ({"STOWAGE_ROOT": str(root)}), build=build_engine)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_fits_the_page(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MODULE_LINES
    too_long = {node.name: lines for node in functions(path) if (lines := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION_LINES}
    assert too_long == {}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_class_is_named_after_nothing(path: Path) -> None:
    classes = [node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.endswith(BANNED_NAMES)] == []


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_left_to_do(path: Path) -> None:
    text = path.read_text()
    assert [word for word in ("TODO", "FIXME", "XXX", "NotImplementedError") if word in text] == []


@pytest.mark.parametrize("path", sorted((ROOT / "services").rglob("*.py")), ids=name_of)
def test_services_never_see_a_request(path: Path) -> None:
    imported = {
        name.partition(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported & {"flask", "werkzeug", "marshmallow", "gunicorn", "app", "blueprints"} == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nobody_imports_the_entry_point(path: Path) -> None:
    assert "import wsgi" not in path.read_text()


@pytest.mark.parametrize("name", endpoint_modules())
def test_an_endpoint_has_one_registered_blueprint_named_after_its_view(name: str) -> None:
    module = importlib.import_module(name)
    own = endpoint_blueprint(module)
    assert own in (*BLUEPRINTS, *PAGE_BLUEPRINTS)
    assert inspect.isfunction(getattr(module, own.name))


def test_every_registered_blueprint_is_in_a_file_of_its_own() -> None:
    assert sorted(blueprint.import_name for blueprint in (*BLUEPRINTS, *PAGE_BLUEPRINTS)) == sorted(endpoint_modules())
    assert inspect.getdoc(stowage.blueprints)


@pytest.mark.parametrize("name", endpoint_modules())
def test_a_route_declares_what_its_view_reads(name: str, tmp_path: Path) -> None:
    module = importlib.import_module(name)
    used = {node.id for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Name)}
    routes = [rule for rule in routed(tmp_path).url_map.iter_rules() if rule.endpoint.startswith(f"{endpoint_blueprint(module).name}.")]
    for route in routes:
        assert isinstance(route, Route)
        assert route.credentials == bool(used & {"registry_auth", "push_auth"})
        assert bool(route.body) == bool(used & {"body_stream", "login_auth"})


def test_every_view_begins_with_its_route_and_fits_its_lines(tmp_path: Path) -> None:
    app = routed(tmp_path)
    for rule in app.url_map.iter_rules():
        assert isinstance(rule, Route)
        view = app.view_functions[rule.endpoint]
        if view.__module__ == absent.__name__:  # a table of routes, which says the paths
            continue
        first = (inspect.getdoc(view) or "").splitlines()[0]
        path = rule.rule.replace("<path:", "{").replace(">", "}")
        assert path in first, f"{rule.endpoint}: {first}"
        assert all(method in first for method in (rule.methods or set()) - ({"HEAD"} if rule.is_own else set())), (
            f"{rule.endpoint}: {first}"
        )
        lines = ast.parse(inspect.getsource(view)).body[0]
        assert (lines.end_lineno or 0) - lines.lineno + 1 <= VIEW_LINES, rule.endpoint


@pytest.mark.parametrize("document", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))])
def test_documents_name_files_that_exist(document: str) -> None:
    named = re.findall(r"`((?:app|blueprints|services|tests|benchmarks)/[\w/.-]*[\w/])", (ROOT / document).read_text())
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("*.py")), ids=name_of)
def test_a_test_module_is_read_in_one_go(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= TEST_MODULE_LINES
