"""Documents that are written from the code say what the code says."""

from pathlib import Path

import pytest

from stowage.app import documents

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        pytest.param("settings.md", documents.settings_document, id="settings"),
        pytest.param("api-versions.md", documents.versions_document, id="API versions"),
    ],
)
def test_the_document_is_up_to_date(name: str, written: object) -> None:
    assert callable(written)
    assert (DOCS / name).read_text() == written(), f"docs/{name} is out of date: make documents"
