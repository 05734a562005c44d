"""Names, labels and histories that want to do harm are text, bounded, on every page."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from tests.builders import Layout, make_layer, put_image

SCRIPT = "<script>alert(1)</script>"
RTL = "\u202egnp.exe"
HUGE = "A" * 1_500_000
"""Two of these are nearly all that a config may have."""


@pytest.fixture
def hostile(engine: Engine) -> str:
    """The ID of an image whose config is full of it."""
    layout = Layout()
    config = {
        "Labels": {SCRIPT: SCRIPT, "rtl": RTL, "huge": HUGE, "x" * 5000: "\x00\x1b[31m", **{f"z{number}": "1" for number in range(300)}},
        "Env": [f"A={SCRIPT}", f"B={HUGE}", *(f"E{number}=1" for number in range(300))],
        "Cmd": [SCRIPT, RTL, '" onmouseover="alert(1)'],
        "User": SCRIPT,
        "ExposedPorts": {SCRIPT: {}},
        "Volumes": {RTL: {}},
        "WorkingDir": SCRIPT,
    }
    history = [{"created_by": f"RUN {SCRIPT}{RTL}", "comment": SCRIPT}] + [
        {"created_by": HUGE[:1000], "empty_layer": True} for _ in range(300)
    ]
    image = layout.image([make_layer("one")], config=config, history=history)
    return str(put_image(engine, "team/app:1", layout, image))


@pytest.mark.parametrize("place", ["/ui/", "/ui/images", "/ui/images/team/app:1", "/ui/family", "/ui/free"])
def test_it_is_text_and_bounded(client: FlaskClient, hostile: str, place: str) -> None:
    text = client.get(place).text
    assert SCRIPT not in text and "\u202e" not in text and "\x00" not in text and "\x1b" not in text
    assert '" onmouseover="' not in text
    assert len(text) < 400_000


def test_one_image_says_what_is_there(client: FlaskClient, hostile: str) -> None:
    text = client.get("/ui/images/team/app:1").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text and "\\u202e" in text and "\\x1b" in text
    assert "1,500,000 characters" in text and "more labels" in text and "more</span>" in text and "earlier steps" in text


@pytest.mark.parametrize(
    "place",
    [
        f"/ui/images?reference={SCRIPT}",
        f"/ui/images?label={SCRIPT}%22%20onfocus=%22x",
        f"/ui/images?sort={SCRIPT}",
        f"/ui/family?reference={SCRIPT}",
        f"/ui/free?want=1GB&by={SCRIPT}",
        f"/ui/free?want={SCRIPT}",
        f"/ui/images/{SCRIPT}",
        f"/ui/layers/{SCRIPT}",
        "/ui/images?done=<b>",
    ],
)
def test_what_is_asked_is_never_markup(client: FlaskClient, hostile: str, place: str) -> None:
    text = client.get(place).text
    assert SCRIPT not in text and '" onfocus="' not in text and "<b>" not in text
