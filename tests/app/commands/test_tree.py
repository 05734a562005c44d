"""`stowage tree`: the family of the images in a terminal."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from stowage.app.cli import main
from stowage.app.settings import Config
from stowage.app.wiring import open_engine
from stowage.services.images.tag import tag_image
from stowage.services.oci.reference import Reference
from tests.builders import Layout, make_layer, put_image

IMAGES = {"base:1": "a", "tools:1": "ab", "app:1": "abc", "app:2": "abd", "side:1": "ae", "other:1": "f"}


@pytest.fixture(autouse=True)
def root(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_ROOT", str(tmp_path_factory.mktemp("tree")))
    assert main(["db", "upgrade"]) == 0
    with open_engine(Config.from_environ()) as engine:
        for name, layers in IMAGES.items():
            layout = Layout()
            put_image(engine, name, layout, layout.image(map(make_layer, layers), compression="none"))
        layout = Layout()
        put_image(engine, None, layout, layout.image(map(make_layer, "abg"), compression="none"))


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    capsys.readouterr()
    assert main(["tree", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def test_what_is_built_on_an_image_is_below_it(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys)
    assert [re.sub(r"[0-9a-f]{12}", "ID", line.partition("  +")[0].partition("   1")[0].rstrip()) for line in lines] == [
        "base:1",
        "├── tools:1",
        "│   ├── app:1",
        "│   ├── app:2",
        "│   └── ID",
        "└── side:1",
        "other:1",
    ]
    assert lines[0].split()[1:] == ["10.24kB", "1", "layer"]
    assert lines[1].split()[2:] == ["+10.24kB", "1", "layer"]


def test_a_pattern_shows_the_relatives_of_what_matches(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "app:2")
    assert [line.split("  +")[0].rstrip() for line in lines[1:]] == ["└── tools:1", "    └── app:2"]


def test_an_image_has_the_name_that_matches(capsys: pytest.CaptureFixture[str]) -> None:
    with open_engine(Config.from_environ()) as engine:
        tag_image(engine, "app:2", Reference.parse("aaa:1"))
    for pattern, shown in (("app", ["app:1", "app:2"]), ("aaa", ["aaa:1"]), ("side", ["side:1"])):
        lines = printed(capsys, pattern)
        assert [line.split()[-4] for line in lines if line.split()[-4].partition(":")[0] == pattern] == shown


def test_a_pattern_that_matches_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["tree", "absent"]) == 0
    assert capsys.readouterr() == ("", f"stowage: no image is called 'absent' in the store {os.environ['STOWAGE_ROOT']}\n")


def test_an_empty_store_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STOWAGE_ROOT", str(tmp_path / "empty"))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2375")
    assert main(["db", "upgrade"]) == 0
    capsys.readouterr()
    assert main(["tree"]) == 0
    assert capsys.readouterr() == ("", f"stowage: no image has layers in the store {tmp_path / 'empty'}; DOCKER_HOST is not used\n")


def test_a_line_names_a_few_of_many_images_with_the_same_layers(capsys: pytest.CaptureFixture[str]) -> None:
    with open_engine(Config.from_environ()) as engine:
        for number in range(7):
            layout = Layout()
            put_image(engine, f"twin:{number}", layout, layout.image([make_layer("twin")], config={"Labels": {"n": str(number)}}))
    assert any(line.startswith("twin:0, twin:1, twin:2, twin:3 and 3 more  ") for line in printed(capsys))
