"""What is suggested to be deleted, and what a selection frees."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.gc.leases import hold
from stowage.services.images.delete import delete_image
from stowage.services.oci.digest import Digest
from stowage.services.system import suggestion
from tests.blueprints.page.pages import Ids, show


def checked(page: str) -> list[str]:
    """The images that are selected."""
    return re.findall(r'value="(sha256:[0-9a-f]+)"[^>]* checked', page)


def test_a_suggestion_is_selected_and_counted(client: FlaskClient, ids: Ids) -> None:
    page = show(client, "/ui/free?want=60kB")
    assert checked(page) == [ids[None], ids["team/app:2"]]
    assert "docker image rm --force" in page and "Delete the selection" not in page
    mine = show(client, f"/ui/free?want=12kB&chosen=1&image={quote(ids['base:1'])}")
    assert checked(mine) == [ids["base:1"]]
    assert "checked" not in show(client, "/ui/free?want=12kB&chosen=1")
    assert client.get("/ui/free?want=much").status_code == 400
    (pattern,) = re.findall(r'name="want" [^>]* pattern="([^"]+)"', page)
    assert all(re.fullmatch(pattern, text) for text in ("1GiB", "1.5 GB", "500B", " 1PB "))
    for asked, shown in (("1", "1B"), ("1 GB ", "1 GB"), ("1PB", "1PB")):
        assert f'name="want" value="{shown}"' in show(client, f"/ui/free?want={quote(asked)}")
    assert not any(re.fullmatch(pattern, text) for text in ("1iB", "500"))
    assert "Wanted: 1.07GB" in show(client, "/ui/free?want=1GiB")


def test_the_amount_to_free_fits_the_store(client: FlaskClient, ids: Ids) -> None:
    assert 'name="want" value="1MB"' in show(client, "/ui/") and 'name="want" value="1MB"' in show(client, "/ui/free")


def test_what_a_running_load_uses_is_said_to_stay(client: FlaskClient, engine: Engine, ids: Ids) -> None:
    page = f"/ui/free?chosen=1&image={quote(ids['team/app:1'])}"
    assert "<span data-while hidden>" in show(client, page)
    with hold(engine.metadata, engine.content, "test") as lease:
        lease.add([Digest.parse(ids["team/app:1"])])
        assert "<span data-while>" in show(client, page) and "are kept for a while, since a pull or load" in show(client, page)


def test_a_suggestion_is_made_afresh_however_many_were_selected(client: FlaskClient, ids: Ids) -> None:
    suggested = checked(show(client, "/ui/free?want=12kB"))
    assert suggested and ids["base:1"] not in suggested
    assert checked(show(client, f"/ui/free?want=12kB&image={quote(ids['base:1'])}&fresh=1")) == suggested


def test_selected_images_that_are_gone_are_left_out_with_a_word(client: FlaskClient, engine: Engine, ids: Ids) -> None:
    path = f"/ui/free?chosen=1&image={quote(ids['base:1'])}&image={quote(ids['team/app:1'])}"
    assert "gone" not in show(client, path)
    delete_image(engine, "team/app:1")
    page = show(client, path)
    assert "1 of the selected images is gone." in page
    assert checked(page) == [ids["base:1"]]


def test_a_selected_image_is_listed_though_it_would_not_be_suggested(client: FlaskClient, ids: Ids) -> None:
    page = show(client, f"/ui/free?by=untagged&chosen=1&image={quote(ids['base:1'])}")
    assert checked(page) == [ids["base:1"]]


def test_a_suggestion_says_that_it_is_less_than_wanted(client: FlaskClient, ids: Ids) -> None:
    less = "That is less than you want, and there is no more to suggest."
    assert less in show(client, "/ui/free?want=1TB")
    assert less not in show(client, "/ui/free?want=1B")
    assert less not in show(client, f"/ui/free?want=1TB&chosen=1&image={quote(ids['base:1'])}")


def test_a_suggestion_says_that_there_are_more_images(client: FlaskClient, ids: Ids, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suggestion, "MOST_IMAGES", 2)
    assert "all that the first 1,000 images of this order free" in show(client, "/ui/free?want=1TB")


def test_what_a_deletion_frees(client: FlaskClient, ids: Ids) -> None:
    one, both = (client.get(f"/stowage/disk/freed?image=team/app:1{more}").get_json() for more in ("", f"&image={ids['team/app:2']}"))
    assert (one["Images"], both["Images"]) == ([ids["team/app:1"]], [ids["team/app:1"], ids["team/app:2"]])
    assert both["Freed"] > one["Freed"] > 9000 and both["Shared"] == one["Shared"] > 9000
    assert client.get("/stowage/disk/freed").json == {"Images": [], "Freed": 0, "Shared": 0, "Leased": 0}
    assert client.get("/stowage/disk/freed?image=absent").json == {"message": "No such image: absent:latest"}
