"""The files of an image and two images side by side, in a real browser: by links, by keyboard, with hostile names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.builders import Layout, Link, make_tar
from tests.conformance.browser import axe, browser, complaints, hosts_asked, leading_elsewhere, page_of, violations
from tests.conformance.conftest import Service, needs
from tests.ports import free_port

__all__ = ["axe", "browser"]

BASE: dict[str, bytes | Link | None] = {
    "usr/lib/libbig.so": b"b" * 800_000,
    "usr/bin/tool": b"t" * 3000,
    "etc/<img src=x onerror=alert(1)>": b"x",
    "etc/\u202egnp.exe": b"y",
    "etc/caf\udce9": b"z",
    "bin": Link("usr/bin"),
}
SECOND: dict[str, bytes | Link | None] = {"usr/lib/.wh.libbig.so": b"", "usr/bin/tool": b"u" * 4000}
THIRD: dict[str, bytes | Link | None] = {"opt/jvm/java": b"j" * 500_000, "opt/jvm/rt": b"r" * 90_000}
PLACES = (
    "/ui/files/team/app:1",
    "/ui/files/team/app:1?path=/etc&view=flat",
    "/ui/files/team/app:1?layer=2",
    "/ui/files/team/app:1?view=wasted",
    "/ui/difference",
    "/ui/difference?left=team/app:1",
    "/ui/difference?left=team/app:1&right=team/app:2",
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has two images, and whose page reads."""
    needs("docker")
    layout = Layout()
    base, second, third = map(make_tar, (BASE, SECOND, THIRD))
    layout.tag(layout.image([base, second], config={"Labels": {"version": "one"}}), "docker.io/team/app:1")
    layout.tag(layout.image([base, second, third], config={"Labels": {"version": "two"}}), "docker.io/team/app:2")
    service = Service(tmp_path_factory.mktemp("page") / "stowage", free_port())
    service.start()
    service.docker("load", stdin=layout.to_tar())
    yield service
    service.stop()


def rows(browser: WebDriver, table: str = "table.files") -> list[list[str]]:
    """The cells of the last table of this kind."""
    tables = browser.find_elements(By.CSS_SELECTOR, table)
    return [
        [cell.text for cell in row.find_elements(By.CSS_SELECTOR, "th, td")]
        for row in tables[-1].find_elements(By.CSS_SELECTOR, "tbody tr")
    ]


def names(browser: WebDriver) -> list[str]:
    return [row[0] for row in rows(browser)]


def follow(browser: WebDriver, text: str) -> None:
    """Follow a link by keyboard."""
    with leading_elsewhere(browser):
        browser.find_element(By.LINK_TEXT, text).send_keys(Keys.ENTER)


@pytest.mark.parametrize("place", PLACES)
def test_a_page_asks_no_other_host_and_does_nothing_that_its_policy_forbids(shown: Service, browser: WebDriver, place: str) -> None:
    hosts_asked(browser), complaints(browser)
    browser.get(page_of(shown, place))
    assert hosts_asked(browser) == {f"127.0.0.1:{shown.port}"}
    assert complaints(browser) == []


@pytest.mark.node
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(shown: Service, browser: WebDriver, axe: str, place: str) -> None:
    browser.get(page_of(shown, place))
    assert violations(browser, axe) == {}


def test_from_the_image_into_its_directories(shown: Service, browser: WebDriver) -> None:
    browser.get(page_of(shown, "/ui/images/team/app:1"))
    follow(browser, "Files")
    assert names(browser) == ["usr/", "etc/", "bin \N{RIGHTWARDS ARROW} usr/bin"]
    assert "804kB" not in browser.page_source
    follow(browser, "usr/")
    assert [row[:2] for row in rows(browser)] == [["bin/", "4kB"], ["lib/", "0B"]]
    follow(browser, "bin/")
    assert rows(browser)[0][:2] == ["tool", "4kB"]
    assert rows(browser)[0][3] == "2"


def test_a_search_by_keyboard(shown: Service, browser: WebDriver) -> None:
    browser.get(page_of(shown, "/ui/files/team/app:1"))
    field = browser.find_element(By.NAME, "search")
    field.send_keys("TOOL", Keys.ENTER)
    loading = (IndexError, StaleElementReferenceException)
    WebDriverWait(browser, 30, ignored_exceptions=loading).until(lambda _: names(browser) == ["/usr/bin/tool"])


def test_what_made_an_image_grow_since_the_last_tag(shown: Service, browser: WebDriver) -> None:
    browser.get(page_of(shown, "/ui/images/team/app:2"))
    follow(browser, "Compare")
    follow(browser, "team/app:1")
    assert browser.find_element(By.TAG_NAME, "h1").text == "team/app:1 \N{RIGHTWARDS ARROW} team/app:2"
    first = browser.find_element(By.CSS_SELECTOR, "section[aria-labelledby=grow] tbody tr").text
    assert "/opt/ 2 files" in first and "added" in first and "+590kB" in first
    assert [cell.text for cell in browser.find_elements(By.CSS_SELECTOR, "table.settings tbody td")] == ["one", "two"]
