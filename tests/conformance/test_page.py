"""The page in a real browser: a known store as it is shown, by mouse and by keyboard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from selenium.webdriver.chrome.webdriver import WebDriver

from tests.builders import simple_layout
from tests.conformance.browser import axe, browser, complaints, hosts_asked, page_of, violations
from tests.conformance.conftest import Service, free_port, needs

__all__ = ["axe", "browser"]
PLACES = ("/ui/", "/ui/images", "/ui/images/simple:latest", "/ui/family", "/ui/activity")


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has simple:latest, and whose page reads."""
    needs("docker")
    service = Service(tmp_path_factory.mktemp("page") / "stowage", free_port())
    service.start()
    service.docker("load", stdin=simple_layout().to_tar())
    yield service
    service.stop()


@pytest.mark.parametrize("place", PLACES)
def test_a_page_asks_no_other_host_and_does_nothing_that_its_policy_forbids(shown: Service, browser: WebDriver, place: str) -> None:
    hosts_asked(browser), complaints(browser)
    browser.get(page_of(shown, place))
    assert browser.title.endswith("· Stowage")
    assert hosts_asked(browser) == {f"127.0.0.1:{shown.port}"}
    assert complaints(browser) == []


@pytest.mark.node
@pytest.mark.parametrize("place", PLACES)
def test_axe_finds_nothing(shown: Service, browser: WebDriver, axe: str, place: str) -> None:
    browser.get(page_of(shown, place))
    assert violations(browser, axe) == {}
