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

from flask import Blueprint, Flask

import stowage.blueprints
from stowage.app.application import create_app
from stowage.app.settings import Config
from stowage.app.wiring import build_engine
from stowage.blueprints import BLUEPRINTS, PAGE_BLUEPRINTS
from stowage.blueprints.routing import Route
from stowage.blueprints.system import absent

ROOT = Path(__file__).parents[1]
PACKAGES = ("app", "blueprints", "services", "stowage")
MODULES = {
    path: ast.parse(path.read_text())
    for path in [ROOT / "wsgi.py", *(path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py")))]
}
ENDPOINT_FOLDERS = ("images", "distribution", "page", "system")

FUNCTION_LINES = 40
VIEW_LINES = 15
BANNED_NAMES = ("Manager", "Helper", "Util")
UNFINISHED = ("TODO", "FIXME", "XXX", "NotImplementedError")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def length(node: ast.stmt) -> int:
    """The number of a statement's lines."""
    return (node.end_lineno or 0) - node.lineno + 1


def imported(tree: ast.Module) -> set[str]:
    """The first parts of the names of all imported modules."""
    imports = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    imports += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    return {name.partition(".")[0] for name in imports}


def endpoint_modules() -> list[str]:
    """Names of the modules that hold one endpoint each, or a few about one fact."""
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


def test_functions_fit_the_page() -> None:
    lines = {f"{name_of(path)}: {node.name}": length(node) for path, tree in MODULES.items() for node in functions(tree)}
    assert {name: long for name, long in lines.items() if long > FUNCTION_LINES} == {}


def test_a_module_says_what_it_is() -> None:
    assert [name_of(path) for path, tree in MODULES.items() if not ast.get_docstring(tree)] == []


def test_classes_are_named_after_what_they_are() -> None:
    classes = [node.name for tree in MODULES.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert [name for name in classes if name.endswith(BANNED_NAMES)] == []


def test_nothing_is_left_to_do() -> None:
    assert [name_of(path) for path in MODULES if any(word in path.read_text() for word in UNFINISHED)] == []


def test_services_never_see_a_request() -> None:
    web = {"flask", "werkzeug", "marshmallow", "gunicorn", "app", "blueprints"}
    services = {path: tree for path, tree in MODULES.items() if path.is_relative_to(ROOT / "services")}
    assert {name_of(path): found for path, tree in services.items() if (found := imported(tree) & web)} == {}


def test_nobody_imports_the_entry_point() -> None:
    assert [name_of(path) for path in MODULES if "import wsgi" in path.read_text()] == []


def test_an_endpoint_has_one_registered_blueprint_named_after_its_file() -> None:
    for name in endpoint_modules():
        own = endpoint_blueprint(importlib.import_module(name))
        assert own in (*BLUEPRINTS, *PAGE_BLUEPRINTS), name
        assert own.name.endswith(f"_{name.rpartition('.')[2]}"), name


def test_every_registered_blueprint_is_in_a_file_of_its_own() -> None:
    assert sorted(blueprint.import_name for blueprint in (*BLUEPRINTS, *PAGE_BLUEPRINTS)) == sorted(endpoint_modules())
    assert inspect.getdoc(stowage.blueprints)


def test_a_route_declares_what_its_view_reads(tmp_path: Path) -> None:
    rules = list(routed(tmp_path).url_map.iter_rules())
    for name in endpoint_modules():
        module = importlib.import_module(name)
        used = {node.id for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Name)}
        for route in (rule for rule in rules if rule.endpoint.startswith(f"{endpoint_blueprint(module).name}.")):
            assert isinstance(route, Route)
            assert route.credentials == bool(used & {"registry_auth", "push_auth"}), name
            assert bool(route.body) == bool(used & {"body_stream", "login_auth"}), name


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
        assert length(ast.parse(inspect.getsource(view)).body[0]) <= VIEW_LINES, rule.endpoint


def test_documents_name_files_that_exist() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        named = re.findall(r"`((?:app|blueprints|services|tests|benchmarks)/[\w/.-]*[\w/])", document.read_text())
        assert [path for path in named if not (ROOT / path).exists()] == [], document.name
