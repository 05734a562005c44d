"""Tag, delete and prune from the page: only with `write`, only from its own forms, and after a question."""

from __future__ import annotations

import html
import re

import pytest
from flask.testing import FlaskClient

from stowage.services.engine import Engine
from stowage.services.gc.leases import hold
from stowage.services.images.delete import delete_image
from stowage.services.images.tag import tag_image
from stowage.services.intake.ingest import store_bytes
from stowage.services.metadata.records import Selection
from stowage.services.oci.reference import Reference
from stowage.services.store.publish import assign_name
from stowage.services.system.disk import read_disk
from tests.blueprints.page.pages import Ids
from tests.listings import all_records

ORIGIN = {"Origin": "http://localhost"}
FORMS = ["/ui/delete", "/ui/tag?image=base:1&as=other:1", "/ui/prune"]


def tags(engine: Engine) -> list[str]:
    return [record.name.removeprefix("docker.io/").removeprefix("library/") for record in all_records(engine.metadata)]


def token_of(client: FlaskClient, path: str) -> str:
    """The token of the form on a page."""
    (token,) = re.findall(r'name="token" value="([^"]+)"', client.get(path).text)
    return str(token)


def form_of(client: FlaskClient, path: str) -> dict[str, list[str]]:
    """The hidden fields of the form on a page."""
    return fields_of(client.get(path).text)


def fields_of(page: str) -> dict[str, list[str]]:
    """The hidden fields of the form in this text."""
    fields: dict[str, list[str]] = {}
    for name, value in re.findall(r'type="hidden" name="(\w+)" value="([^"]+)"', page):
        fields.setdefault(name, []).append(html.unescape(value))
    return fields


def untag(page: str) -> str:
    """A page without its tags."""
    return re.sub(r"<[^>]*>", "", page)


@pytest.mark.parametrize("path", FORMS)
def test_a_page_that_reads_has_no_forms_and_takes_none(client: FlaskClient, engine: Engine, ids: Ids, path: str) -> None:
    before = tags(engine)
    for answer in (client.get(path), client.post(path, data={"image": "base:1", "token": "x"}, headers=ORIGIN)):
        assert answer.status_code == 403 and "STOWAGE_UI" in answer.text
    assert tags(engine) == before
    assert "Set-Cookie" not in client.get("/ui/").headers


def test_a_deletion_is_asked_counted_and_done(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    path = f"/ui/delete?image={ids['team/app:1']}&image={ids[None]}"
    page = writer.get(path).text
    assert "Delete 2 images?" in page and "team/app:1" in page and "cannot be undone" in page
    data = form_of(writer, path)
    answer = writer.post("/ui/delete", data=data, headers=ORIGIN)
    assert (answer.status_code, answer.location.partition("&")[0]) == (303, "/ui/images?done=deleted")
    assert "Deleted. This freed" in writer.get(answer.location).text
    assert tags(engine) == ["base:1", "team/app:2"]
    for again in (data, {**form_of(writer, "/ui/delete?name=base:1"), "name": "team/app:1"}):
        answer = writer.post("/ui/delete", data=again, headers=ORIGIN)
        assert (answer.status_code, answer.location) == (303, "/ui/images?done=gone")
    assert "is gone already" in writer.get(answer.location).text


def test_some_of_the_images_are_gone(writer: FlaskClient, ids: Ids) -> None:
    page = writer.get(f"/ui/delete?image={ids['base:1']}&image=sha256:{'0' * 64}&image=base:1").text
    assert "1 of the selected images is gone already" in page and "Delete 1 image?" in page
    assert "of the selected images" not in writer.get(f"/ui/free?image={ids['base:1']}&image=base:1").text


def test_what_was_deleted_is_told_as_it_came_free(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    data = form_of(writer, "/ui/delete?image=base:1")
    for name in ("team/app:1", "team/app:2", str(ids[None])):
        delete_image(engine, name)
    stored = read_disk(engine, most=1).stored
    answer = writer.post("/ui/delete", data=data, headers=ORIGIN)
    assert answer.location == f"/ui/images?done=deleted&freed={stored}B"


def test_images_that_have_changed_are_asked_about_again_and_the_others_go(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    delete_image(engine, str(ids[None]))
    path = f"/ui/delete?image={ids['base:1']}&image={ids['team/app:1']}"
    data = form_of(writer, path)
    tag_image(engine, "base:1", Reference.parse("keep:1"))
    answer = writer.post("/ui/delete", data=data, headers=ORIGIN)
    words = untag(answer.text)
    assert answer.status_code == 409 and "1 image is deleted, which freed" in words
    assert "This image has got or lost a name since you were asked" in words and re.search(r"base:1\s*keep:1", words)
    assert tags(engine) == ["base:1", "keep:1", "team/app:2"]
    assert writer.post("/ui/delete", data=fields_of(answer.text), headers=ORIGIN).status_code == 303
    assert tags(engine) == ["team/app:2"]


def test_an_image_without_a_name_has_none_that_goes(writer: FlaskClient, ids: Ids) -> None:
    assert "go:" not in untag(writer.get(f"/ui/delete?name={ids[None]}").text)


def test_names_that_go_with_a_name_are_told(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    by_digest = f"base@{ids['base:1']}"
    with engine.metadata.write() as tx:
        assign_name(tx, f"docker.io/library/{by_digest}", tx.images.named(["docker.io/library/base:1"]).popitem()[1].target, 0)
    page = untag(writer.get("/ui/delete?name=base:1").text)
    assert re.search(rf"These names go:\s+base:1\s+{by_digest}\s", page) and "so it is deleted" in page
    tag_image(engine, "base:1", Reference.parse("other:1"))
    tag_image(engine, "base:1", Reference.parse("base:2"))
    assert not re.search("names? goe?s?:", untag(writer.get("/ui/delete?name=base:1").text))
    page = untag(writer.get(f"/ui/delete?name={by_digest}").text)
    assert re.search(rf"These names go:\s+base:1\s+base:2\s+{by_digest}\s", page) and "keeps its other names" in page
    other = untag(writer.get(f"/ui/delete?name=other@{ids['base:1']}").text)
    assert re.search(r"This name goes:\s+other:1\s", other)
    data = form_of(writer, f"/ui/delete?name={by_digest}")
    assert writer.post("/ui/delete", data=data, headers=ORIGIN).status_code == 303
    assert "other:1" in tags(engine) and "base:1" not in tags(engine)


def test_an_answer_is_not_taken_for_another_question(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    tag_image(engine, "base:1", Reference.parse("base:2"))
    data = form_of(writer, "/ui/delete?name=base:1")
    data = {"token": data["token"], "asked": data["asked"], "image": [ids["base:1"]]}
    assert writer.post("/ui/delete", data=data, headers=ORIGIN).status_code == 409
    assert {"base:1", "base:2"} <= set(tags(engine))


def test_an_answer_to_a_question_that_has_changed_is_asked_for_again(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    tag_image(engine, "base:1", Reference.parse("base:2"))
    sent = [form_of(writer, "/ui/delete?image=base:1"), form_of(writer, "/ui/delete?name=base:2")]
    delete_image(engine, "base:1")
    for data in sent:
        answer = writer.post("/ui/delete", data=data, headers=ORIGIN)
        assert answer.status_code == 409 and "since you were asked" in answer.text
    assert "No other name keeps" in answer.text and "base:2" in tags(engine)
    assert writer.post("/ui/delete", data=fields_of(answer.text), headers=ORIGIN).status_code == 303 and "base:2" not in tags(engine)


def test_a_prune_removes_no_image_that_has_lost_its_name_since(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    data = form_of(writer, "/ui/prune")
    tag_image(engine, "team/app:1", Reference.parse("team/app:2"))
    assert writer.post("/ui/prune", data=data, headers=ORIGIN).status_code == 303
    with engine.metadata.read() as tx:
        (left,) = tx.targets.read(tx.targets.find(Selection(dangling=True)))
    assert str(left.digest) == ids["team/app:2"]


def test_an_image_goes_with_all_its_names(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    tag_image(engine, "base:1", Reference.parse("base:2"))
    data = form_of(writer, "/ui/delete?image=base:1")
    assert writer.post("/ui/delete", data=data, headers=ORIGIN).status_code == 303
    assert "base" not in " ".join(tags(engine))


def test_a_name_goes_alone(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    tag_image(engine, "base:1", Reference.parse("base:2"))
    assert "nothing comes free" in writer.get("/ui/delete?name=base:2").text
    data = form_of(writer, "/ui/delete?name=base:2")
    assert writer.post("/ui/delete", data=data, headers=ORIGIN).status_code == 303
    assert "base:1" in tags(engine) and "base:2" not in tags(engine)
    assert "No other name keeps" in writer.get("/ui/delete?name=base:1").text


def test_a_tag_says_who_loses_the_name(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    path = "/ui/tag?image=team/app:1&as=team/app:2"
    assert "loses it; it stays without a name" in writer.get(path).text
    assert "It has this name already." in writer.get("/ui/tag?image=base:1&as=base:1").text
    data = {"token": token_of(writer, path), "image": ids["team/app:1"], "as": "team/new"}
    answer = writer.post("/ui/tag", data=data, headers=ORIGIN)
    assert (answer.status_code, answer.location) == (303, "/ui/images/team/new:latest?done=tagged")
    page = writer.get(answer.location).text
    assert "Tagged." in page and "<title>team/new:latest" in page
    assert "team/new:latest" in tags(engine)
    assert writer.get("/ui/tag?image=base:1&as=NOT+A+NAME").status_code == 400


def test_the_question_before_a_prune_says_all_that_it_removes(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    page = writer.get("/ui/prune").text
    assert re.search(r"1 image without a name, which frees <strong>[\d.]+kB</strong>", page) and "interrupted" not in page
    with hold(engine.metadata, engine.content, "test") as lease:
        store_bytes(engine, lease, b"x" * 700_000)
        with engine.content.ingest("abc") as ingest:
            ingest.write(b"y" * 900_000)
            ingest.keep()
        assert re.search(r"loads keep: at most <strong>1.6MB</strong>", writer.get("/ui/prune").text)


def test_no_prune_is_offered_that_removes_nothing(writer: FlaskClient) -> None:
    page = writer.get("/ui/prune").text
    assert "There is nothing to prune" in page and "<button" not in page.partition("<h1>")[2]


def test_a_prune_is_asked_and_done(writer: FlaskClient, engine: Engine, ids: Ids) -> None:
    assert "1 image without a name" in writer.get("/ui/prune").text
    answer = writer.post("/ui/prune", data=form_of(writer, "/ui/prune"), headers=ORIGIN)
    assert answer.status_code == 303 and re.fullmatch(r"/ui/\?freed=\d+B", answer.location)
    assert tags(engine) == ["base:1", "team/app:1", "team/app:2"]
    assert "The prune has freed" in writer.get(answer.location).text
    with engine.content.exclusive("prune"):
        answer = writer.post("/ui/prune", data={"token": token_of(writer, "/ui/delete?image=base:1")}, headers=ORIGIN)
    assert "A prune is running already." in writer.get(answer.location).text


@pytest.mark.parametrize(
    ("origin", "cookie", "token"),
    [
        pytest.param(None, True, True, id="no origin"),
        pytest.param("http://evil.example", True, True, id="another site"),
        pytest.param("http://localhost:8080", True, True, id="another port"),
        pytest.param("null", True, True, id="a page that hides its origin"),
        pytest.param("http://localhost", False, True, id="no cookie"),
        pytest.param("http://localhost", True, False, id="no token"),
    ],
)
def test_a_form_of_another_page_is_refused(
    writer: FlaskClient, engine: Engine, ids: Ids, origin: str | None, cookie: bool, token: bool
) -> None:
    given, before = token_of(writer, "/ui/prune"), tags(engine)
    if not cookie:
        writer.delete_cookie("stowage_form", path="/ui/")
    headers = {} if origin is None else {"Origin": origin}
    answer = writer.post("/ui/prune", data={"token": given} if token else {}, headers=headers)
    assert (answer.status_code, tags(engine)) == (403, before)


def test_the_cookie_is_sent_only_by_pages_of_the_same_site(writer: FlaskClient) -> None:
    cookie = writer.get("/ui/prune").headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/ui/" in cookie
    again = writer.get("/ui/prune").headers["Set-Cookie"]
    assert again.partition(";")[0] == cookie.partition(";")[0], "the forms of several tabs stay valid"


def test_a_listed_host_may_use_the_engine_but_does_not_have_the_token(engine: Engine, ids: Ids, client_with: object) -> None:
    client = client_with(STOWAGE_UI="write", STOWAGE_HOSTS="pages.example")  # type: ignore[operator]
    headers = {"Origin": "https://pages.example"}
    assert client.post("/images/prune", headers=headers).status_code == 200
    assert client.post("/ui/prune", data={"token": "guess"}, headers=headers).status_code == 403


def test_a_new_name_that_is_none_can_be_corrected(writer: FlaskClient, ids: Ids) -> None:
    answer = writer.get(f"/ui/tag?image={ids['base:1']}&as=Not%20a%20name")
    assert answer.status_code == 400 and 'name="as" value="Not a name"' in answer.text
    assert f'name="image" value="{ids["base:1"]}"' in answer.text
