"""A real browser for tests of the page: Debian's Chromium without a window, and what it asks for on the network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service as Driver
from selenium.webdriver.chrome.webdriver import WebDriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.expected_conditions import staleness_of
from selenium.webdriver.support.ui import WebDriverWait

from tests.conformance.conftest import Service, needs
from tests.conformance.npm import install

CHROMIUM, CHROMEDRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
AXE = "axe-core@4.14.1"
_OPTIONS = (
    "--headless=new",
    "--no-sandbox",  # the tests run as root
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--window-size=1280,1000",
    "--lang=en",
)


def open_browser(*options: str) -> WebDriver:
    """A browser that notes every request; the caller quits it."""
    chosen = Options()
    chosen.binary_location = CHROMIUM
    for option in (*_OPTIONS, *options):
        chosen.add_argument(option)
    chosen.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    return webdriver.Chrome(chosen, Driver(CHROMEDRIVER))


@pytest.fixture(scope="module")
def browser() -> Iterator[WebDriver]:
    """A browser that all tests of a module share, one after the other."""
    needs("chromium")
    needs("chromedriver")
    driver = open_browser()
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The script of axe-core, which finds what keeps people out."""
    return (install(AXE, tmp_path_factory) / "axe-core" / "axe.min.js").read_text()


def page_of(service: Service, path: str) -> str:
    """The address of a page of this service."""
    return f"http://127.0.0.1:{service.port}{path}"


@contextmanager
def leading_elsewhere(browser: WebDriver) -> Iterator[None]:
    """Wait until what is done here has led to another page: a click may return before the browser begins to leave.

    While it leaves, its driver may fail to say whether the element is still there.
    """
    left = browser.find_element(By.TAG_NAME, "html")
    yield
    WebDriverWait(browser, 20, ignored_exceptions=[WebDriverException]).until(staleness_of(left))


def follow(browser: WebDriver, by: str, what: str) -> None:
    """Click on what leads to another page, and wait for that."""
    with leading_elsewhere(browser):
        browser.find_element(by, what).click()


def hosts_asked(browser: WebDriver) -> set[str]:
    """The hosts that pages have asked since the last time; data in addresses is from none."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]  # type: ignore[no-untyped-call]
    addresses = [urlsplit(each["params"]["request"]["url"]) for each in messages if each["method"] == "Network.requestWillBeSent"]
    return {address.netloc for address in addresses if address.scheme not in ("data", "about")}


def complaints(browser: WebDriver) -> list[str]:
    """What the browser has refused or failed to do since the last time, such as what the Content-Security-Policy does not allow."""
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]  # type: ignore[no-untyped-call]


def violations(browser: WebDriver, axe: str) -> dict[str, list[str]]:
    """What axe-core finds on the current page: each broken rule with the places."""
    browser.execute_script(axe)
    found: dict[str, Any] = browser.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return {rule["id"]: [node["html"][:200] + " " + node["failureSummary"] for node in rule["nodes"]] for rule in found["violations"]}
