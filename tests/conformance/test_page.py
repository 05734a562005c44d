"""The page in a real browser: a known store as it is shown, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.builders import Json, Layout, make_layer
from tests.conformance.browser import axe, browser, complaints, follow, hosts_asked, leading_elsewhere, open_browser, page_of, violations
from tests.conformance.conftest import Service, needs
from tests.ports import free_port

__all__ = ["axe", "browser"]
HOSTILE = '<img src=x onerror="window.hacked=1">'
PLACES = (
    "/ui/",
    "/ui/images",
    "/ui/images?reference=team/*",
    "/ui/images?part=app&until=1h",
    "/ui/images/team/app:2",
    "/ui/family",
    "/ui/free?want=30kB",
    "/ui/activity",
    "/ui/absent",
)
FORMS = ("/ui/delete?image=team/app:1", "/ui/delete?name=team/app:1", "/ui/tag?image=team/app:1&as=base:1", "/ui/prune")


def layout() -> Layout:
    """base:1, two versions of team/app on it, of which one is hostile, and other:1."""
    made = Layout()

    def add(name: str, *labels: str, **config: Any) -> None:
        layers = [make_layer(label, 9000 + 7000 * int(label[-1])) for label in labels]
        image: Json = made.image(layers, compression="none", config={"Labels": {"of": name}, **config})
        made.tag(image, f"docker.io/{name}" if "/" in name else f"docker.io/library/{name}")

    add("base:1", "base1")
    add("team/app:1", "base1", "app2")
    add("team/app:2", "base1", "app3", User=HOSTILE, Env=[f"A={HOSTILE}\u202e"])
    add("other:1", "other1")
    return made


def start(folder: Path, mode: str) -> Service:
    service = Service(folder / "stowage", free_port(), {"STOWAGE_UI": mode})
    service.start()
    service.docker("load", stdin=layout().to_tar())
    return service


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose page reads."""
    needs("docker")
    service = start(tmp_path_factory.mktemp("page"), "read")
    yield service
    service.stop()


@pytest.fixture
def writable(tmp_path: Path) -> Iterator[Service]:
    """A service whose page can delete."""
    needs("docker")
    service = start(tmp_path, "write")
    yield service
    service.stop()


def texts(browser: WebDriver, selector: str) -> list[str]:
    return [element.text for element in browser.find_elements(By.CSS_SELECTOR, selector)]


def until(browser: WebDriver, condition: Any) -> None:
    WebDriverWait(browser, 20).until(condition)


@pytest.mark.parametrize("place", PLACES)
def test_a_page_asks_no_other_host_and_does_nothing_that_its_policy_forbids(shown: Service, browser: WebDriver, place: str) -> None:
    hosts_asked(browser), complaints(browser)
    browser.get(page_of(shown, place))
    assert browser.title.endswith("· Stowage")
    assert hosts_asked(browser) == {f"127.0.0.1:{shown.port}"}
    assert [each for each in complaints(browser) if place != "/ui/absent"] == []
    assert browser.execute_script("return window.hacked") is None
    wide = "return document.documentElement.scrollWidth <= document.documentElement.clientWidth"
    assert browser.execute_script(wide), "nothing is wider than the window"


@pytest.mark.node
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(shown: Service, browser: WebDriver, axe: str, place: str, scheme: str) -> None:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    browser.get(page_of(shown, place))
    assert violations(browser, axe) == {}


@pytest.mark.node
def test_axe_finds_nothing_in_forms(writable: Service, browser: WebDriver, axe: str) -> None:
    for place in (*FORMS, "/ui/images/team/app:1", "/ui/free?want=1GB"):
        browser.get(page_of(writable, place))
        assert violations(browser, axe) == {}, place


@pytest.mark.parametrize("place", PLACES)
def test_a_phone_shows_it_without_scrolling_sideways(shown: Service, browser: WebDriver, place: str) -> None:
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True})
    try:
        browser.get(page_of(shown, place))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_a_table_that_is_cut_shows_it_and_is_scrolled_by_keyboard(shown: Service, browser: WebDriver) -> None:
    scrolled = "return document.querySelector('.scroll').scrollLeft"
    browser.get(page_of(shown, "/ui/images"))
    assert browser.find_element(By.CSS_SELECTOR, ".scroll").get_attribute("tabindex") is None, "it is not cut"
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": 390, "height": 800, "deviceScaleFactor": 2, "mobile": True})
    try:
        until(browser, lambda _: browser.find_element(By.CSS_SELECTOR, ".scroll").get_attribute("tabindex") == "0")
        browser.execute_script("document.querySelector('.scroll').focus()")
        browser.switch_to.active_element.send_keys(Keys.ARROW_RIGHT * 3)
        until(browser, lambda _: browser.execute_script(scrolled) > 0)
        assert "linear-gradient" in browser.find_element(By.CSS_SELECTOR, ".scroll").value_of_css_property("background-image")
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_list_is_sorted_and_filtered_by_mouse(shown: Service, browser: WebDriver) -> None:
    browser.get(page_of(shown, "/ui/images"))
    names = "tbody th a"
    sign = "return getComputedStyle(document.querySelector('thead th:not([aria-sort]) a'), '::after').content"
    assert "↕" in browser.execute_script(sign), "one sees before hovering that it sorts"
    follow(browser, By.LINK_TEXT, "Size")
    assert texts(browser, names)[:2] == ["team/app:2", "team/app:1"]
    follow(browser, By.PARTIAL_LINK_TEXT, "Size")
    assert texts(browser, names)[-1] == "team/app:2"
    assert browser.find_element(By.CSS_SELECTOR, "th[aria-sort]").get_attribute("aria-sort") == "ascending"
    browser.find_element(By.NAME, "reference").send_keys("team/*")
    follow(browser, By.XPATH, "//button[text()='Filter']")
    assert texts(browser, names) == ["team/app:1", "team/app:2"], "the order stays"
    follow(browser, By.LINK_TEXT, "Clear")
    assert len(texts(browser, names)) == 4


def test_what_a_selection_frees_is_counted_with_every_click(shown: Service, browser: WebDriver) -> None:
    browser.get(page_of(shown, "/ui/"))
    want = browser.find_element(By.NAME, "want")
    want.clear()
    want.send_keys("30kB")
    follow(browser, By.XPATH, "//button[text()='Suggest images']")
    bytes_freed = "[data-bytes]"
    (first,) = texts(browser, bytes_freed)
    assert not browser.find_element(By.CSS_SELECTOR, "[data-count-again]").is_displayed()
    for box in browser.find_elements(By.NAME, "image"):
        if not box.is_selected():
            box.click()
    until(browser, lambda _: texts(browser, "[data-count]") == ["4 images"] and texts(browser, bytes_freed) != [first])
    assert texts(browser, "[data-kept]") == ["0B"]
    assert "docker image rm --force" in texts(browser, "[data-command]")[0]


def test_a_selection_of_which_an_image_is_gone_is_counted_without_it(writable: Service, browser: WebDriver) -> None:
    browser.get(page_of(writable, "/ui/free?want=1B"))
    for box in browser.find_elements(By.NAME, "image"):
        if not box.is_selected():
            box.click()
    until(browser, lambda _: texts(browser, "[data-count]") == ["4 images"])
    writable.docker("rmi", "team/app:2")
    browser.find_elements(By.CSS_SELECTOR, "input[name=image]:checked")[-1].click()
    until(browser, lambda _: texts(browser, ".warning:not([hidden])") == ["1 of the selected images is gone."])


def test_an_image_is_found_by_keyboard_alone(shown: Service, browser: WebDriver) -> None:
    browser.get(page_of(shown, "/ui/"))

    def focused() -> Any:
        return browser.switch_to.active_element

    def press(*keys: str) -> None:
        focused().send_keys(*keys)

    press(Keys.TAB)
    assert focused().text == "Skip to content"
    for _ in range(3):
        press(Keys.TAB)
    assert focused().text == "Images"
    press(Keys.ENTER)
    until(browser, lambda _: browser.title.startswith("Images"))
    while focused().get_attribute("name") != "reference":
        press(Keys.TAB)
    press("team/app:2", Keys.ENTER)
    until(browser, lambda _: "reference=team" in browser.current_url)
    while focused().text != "team/app:2":
        press(Keys.TAB)
    assert browser.execute_script("return getComputedStyle(document.activeElement).outlineStyle") == "solid", "the focus is visible"
    press(Keys.ENTER)
    until(browser, lambda _: browser.title.startswith("team/app:2"))


def test_hostile_text_is_shown(shown: Service, browser: WebDriver) -> None:
    browser.get(page_of(shown, "/ui/images/team/app:2"))
    assert HOSTILE in texts(browser, "table.pairs")[0]
    assert "\\u202e" in texts(browser, ".escape")


def test_a_page_that_reads_cannot_delete(shown: Service, browser: WebDriver) -> None:
    for place in PLACES:
        browser.get(page_of(shown, place))
        assert browser.find_elements(By.CSS_SELECTOR, "form[method=post], .danger, a[href*='/ui/delete']") == []
    browser.get(page_of(shown, "/ui/delete?image=team/app:1"))
    assert "STOWAGE_UI" in texts(browser, "main")[0]


def test_an_image_is_named_and_deleted_after_a_question(writable: Service, browser: WebDriver) -> None:
    browser.get(page_of(writable, "/ui/images/team/app:1"))
    with leading_elsewhere(browser):
        browser.find_element(By.NAME, "as").send_keys("team/kept:1", Keys.ENTER)
    follow(browser, By.XPATH, "//button[text()='Tag']")
    assert texts(browser, "h1") == ["team/app:1"] or texts(browser, "h1") == ["team/kept:1"]
    follow(browser, By.XPATH, "//button[text()='Delete this image …']")
    assert texts(browser, "h1") == ["Delete 1 image?"]
    assert b"team/app" in writable.docker("image", "ls").stdout, "nothing is done before the answer"
    follow(browser, By.XPATH, "//button[text()='Delete']")
    assert texts(browser, "[role=status]") == ["Deleted. This freed 31.8kB."]
    listed = writable.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split()
    assert sorted(listed) == ["base:1", "other:1", "team/app:2"]


def test_without_scripts_nothing_is_missing(shown: Service) -> None:
    needs("chromium")
    needs("chromedriver")
    plain = open_browser("--blink-settings=scriptEnabled=false")
    try:
        plain.get(page_of(shown, "/ui/free?want=30kB"))
        (first,) = texts(plain, "[data-bytes]")
        for box in plain.find_elements(By.NAME, "image"):
            if not box.is_selected():
                box.click()
        follow(plain, By.XPATH, "//button[text()='Count my selection']")
        assert texts(plain, "[data-count]") == ["4 images"] and texts(plain, "[data-bytes]") != [first]
        assert not any(button.is_displayed() for button in plain.find_elements(By.CSS_SELECTOR, "button[data-copy]"))
    finally:
        plain.quit()
