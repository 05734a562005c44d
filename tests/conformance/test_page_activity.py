"""The page of what is going on, in a real browser: transfers and events appear by themselves, and one is ended by keyboard."""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.builders import Layout, make_tar, simple_layout
from tests.conformance.browser import axe, browser, complaints, hosts_asked, page_of, violations
from tests.conformance.conftest import Service, needs
from tests.fake_registry import FakeRegistry
from tests.ports import free_port
from tests.postgresql import Cluster
from tests.seaweedfs import Seaweed
from tests.waiting import poll

__all__ = ["axe", "browser"]
LISTENERS = 2
ENDED = "this pull was ended by an administrator"
"""A quarter of the threads."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    needs("docker")
    settings = {"STOWAGE_UI": "write", "STOWAGE_WORKERS": "1", "STOWAGE_THREADS": str(4 * LISTENERS)}
    running = Service(tmp_path / "stowage", free_port(), settings)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def nodes(tmp_path: Path, postgresql: Cluster, seaweedfs: Seaweed, bucket: str) -> Iterator[list[Service]]:
    """Two services on one database and one bucket."""
    needs("docker")
    place = f"nodes-{uuid4().hex}"
    shared = {
        "STOWAGE_UI": "write",
        "STOWAGE_WORKERS": "1",
        "STOWAGE_DATABASE_URL": postgresql.create_database(place),
        "STOWAGE_CONTENT_URL": seaweedfs.url(bucket, place),
        **seaweedfs.environ(),
    }
    with ExitStack() as running:
        both = [Service(tmp_path / name, free_port(), shared) for name in ("first", "second")]
        for node in both:
            running.callback(node.stop)
            node.start()
        yield both


@contextmanager
def pulling_through(service: Service) -> Iterator[subprocess.Popen[str]]:
    """A docker CLI that pulls an image, which takes long."""
    with FakeRegistry().serve() as registry:
        layout = Layout()
        image = layout.image([make_tar({"data": random.Random(1).randbytes(32 << 20)})], compression="none")
        name = registry.publish(layout, image, repository="team/large")
        registry.rates = {layer["digest"]: 1 << 20 for layer in json.loads(layout.blobs[image["digest"]])["layers"]}
        environment = {**os.environ, "DOCKER_HOST": f"unix://{service.socket}"}
        command = ["docker", "pull", f"{name}:1"]
        with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            yield process
            process.kill()


@pytest.fixture
def pulling(service: Service) -> Iterator[subprocess.Popen[str]]:
    with pulling_through(service) as process:
        yield process


def test_ages_of_events_grow_while_the_page_is_seen(service: Service, browser: WebDriver) -> None:
    service.docker("load", stdin=simple_layout().to_tar())
    browser.get(page_of(service, "/ui/activity"))
    poll(lambda: [text for text in texts(browser, "#events time") if text.endswith("ago")])
    first = texts(browser, "#events time")[0]
    poll(lambda: texts(browser, "#events time")[0] not in ("", first))
    assert texts(browser, "#events time")[0].endswith("ago")


def texts(browser: WebDriver, selector: str) -> list[str]:
    """The texts of these elements, read at once: the page replaces them."""
    script = "return Array.from(document.querySelectorAll(arguments[0]), (element) => element.innerText)"
    return list(browser.execute_script(script, selector))


def focused(browser: WebDriver) -> str:
    """The text of what has the focus."""
    return str(browser.execute_script("return document.activeElement.textContent"))


def press(browser: WebDriver, key: str) -> None:
    ActionChains(browser).send_keys(key).perform()


def tab_to(browser: WebDriver, words: str) -> None:
    """Move the focus on until what has it says these words."""
    for _ in range(20):
        press(browser, Keys.TAB)
        if words in focused(browser):
            return
    pytest.fail(f"no {words}")


def open_page(service: Service, browser: WebDriver) -> None:
    """Open the page, which is marked so that a test notices if it is loaded again."""
    browser.get("about:blank")
    hosts_asked(browser), complaints(browser)
    browser.get(page_of(service, "/ui/activity"))
    browser.execute_script("document.body.dataset.opened = 'once'")
    poll(lambda: texts(browser, "#live") == ["Live: news every two seconds."])


def assert_well(service: Service, browser: WebDriver) -> None:
    """The same page is still open. It has asked nobody else, and nothing was refused."""
    assert browser.execute_script("return document.body.dataset.opened") == "once"
    assert hosts_asked(browser) == {f"127.0.0.1:{service.port}"}
    assert complaints(browser) == []


def test_a_pull_appears_advances_and_disappears(service: Service, browser: WebDriver, request: pytest.FixtureRequest) -> None:
    open_page(service, browser)
    assert "Nothing is being pulled" in texts(browser, "#transfers")[0]
    process: subprocess.Popen[str] = request.getfixturevalue("pulling")
    poll(lambda: "team/large:1" in texts(browser, "#transfers")[0])
    first = texts(browser, ".amounts li:first-child")
    poll(lambda: texts(browser, ".amounts li:first-child") != first)
    [amount] = texts(browser, ".amounts li:first-child")
    assert amount.split(" of ")[1].startswith("33.6MB (")
    assert "Docker-Client/" in texts(browser, ".amounts")[0]
    process.kill()
    poll(lambda: "Nothing is being pulled" in texts(browser, "#transfers")[0])
    assert_well(service, browser)


@pytest.mark.usefixtures("pulling")
def test_a_pull_is_ended_by_keyboard(service: Service, browser: WebDriver, pulling: subprocess.Popen[str]) -> None:
    open_page(service, browser)
    poll(lambda: texts(browser, "#transfers h3"))
    assert ENDED in end_by_keyboard(browser, pulling)


def end_by_keyboard(browser: WebDriver, pulling: subprocess.Popen[str]) -> str:
    """End the pull that the page shows, until it shows none; returns what the client of the pull is told."""
    tab_to(browser, "End…")
    shown = texts(browser, ".amounts")
    poll(lambda: texts(browser, ".amounts") != shown)
    assert "End…" in focused(browser)  # although the list was replaced meanwhile
    press(browser, Keys.ENTER)
    poll(lambda: browser.title.startswith("End a transfer"))
    tab_to(browser, "End the pull")
    press(browser, Keys.ENTER)
    assert pulling.stderr is not None
    told = pulling.stderr.read()
    poll(lambda: browser.title.startswith("Activity") and "Nothing is being pulled" in texts(browser, "#transfers")[0])
    return told


def test_what_one_node_does_is_seen_on_the_page_of_another_and_ended_there(nodes: list[Service], browser: WebDriver) -> None:
    working, shown = nodes
    open_page(shown, browser)
    working.docker("load", stdin=simple_layout().to_tar())
    poll(lambda: texts(browser, "#events .tag") == ["load"])
    with pulling_through(working) as pulling:
        poll(lambda: "team/large:1" in texts(browser, "#transfers")[0])
        assert_well(shown, browser)
        assert ENDED in end_by_keyboard(browser, pulling)


def test_events_appear_while_docker_events_has_every_place_of_its_listeners(service: Service, browser: WebDriver) -> None:
    service.docker("load", stdin=simple_layout().to_tar())
    open_page(service, browser)
    assert texts(browser, "#events .tag") == ["load"]
    with ExitStack() as listening:
        listeners = [_listen(service, listening) for _ in range(LISTENERS + 1)]
        assert sorted(each.status for each in listeners) == [200] * LISTENERS + [503]
        service.docker("tag", "simple:latest", "other:1")
        poll(lambda: texts(browser, "#events .tag")[0] == "tag")
    assert texts(browser, "#events .tag") == ["tag", "load"]
    assert_well(service, browser)


def _listen(service: Service, stack: ExitStack) -> http.client.HTTPResponse:
    connection = stack.enter_context(closing(http.client.HTTPConnection("localhost", timeout=30)))
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(service.socket))
    connection.request("GET", "/events")
    return stack.enter_context(connection.getresponse())


def test_a_service_that_is_gone_is_noticed_and_so_is_its_return(service: Service, browser: WebDriver) -> None:
    open_page(service, browser)
    service.stop()
    poll(lambda: texts(browser, "#live") == ["The service does not answer; trying again."])
    service.start()
    poll(lambda: texts(browser, "#live") == ["Live: news every two seconds."])
    assert browser.execute_script("return document.body.dataset.opened") == "once"


@pytest.mark.node
@pytest.mark.usefixtures("pulling")
def test_axe_finds_nothing_where_something_is_going_on(service: Service, browser: WebDriver, axe: str) -> None:
    service.docker("load", stdin=simple_layout().to_tar())
    open_page(service, browser)
    poll(lambda: texts(browser, "#transfers .parts"))
    assert violations(browser, axe) == {}
    browser.get(page_of(service, "/ui/activity"))
    browser.get(str(browser.execute_script("return document.querySelector('a.danger').href")))
    assert violations(browser, axe) == {}
