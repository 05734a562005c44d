"""The list of a repository's tags.

    GET  /v2/<name>/tags/list          {"tags": [...]}, the next page in a Link header

Source: OCI distribution spec "Listing Tags"; moby daemon/internal/distribution/pull.go (Tags).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from urllib3.response import BaseHTTPResponse

from stowage.services.errors import InvalidContent, RegistryFailure
from stowage.services.oci import gojson
from stowage.services.oci.gojson import MAX_VALUES, Fields
from stowage.services.oci.reference import is_tag
from stowage.services.registry.refusals import refused
from stowage.services.registry.transport import read_bounded

_MAX_BYTES = 16 << 20
"""Paged lists have up to 1,000 tags a page, which take tens of KiB. Other registries send all tags as one page."""
_MAX_PAGES = 1000

_PAGE_MEMORY = 10
"""Bytes of memory for each byte of a page, roughly: twice as it arrives, and as text and as names with up to four bytes a character."""
_PLACE_BYTES = 8
"""Bytes of memory for the place of a tag in a list."""


def list_tags(ask: Callable[[str], BaseHTTPResponse], repository: str, keep: Callable[[int], None]) -> list[str]:
    """Every tag of all pages, in the registry's order. `ask` requests a path of the repository; errors show the name `repository`.

    What does not fit the grammar of tags is left out, as in Docker. `keep` counts memory as `Repository.tags` describes. Raises Failed for
    an answer that is not a list of tags, and RegistryFailure for one that cannot be read.
    """
    found: list[str] = []
    query, left, names = "", _MAX_BYTES, 0
    for _ in range(_MAX_PAGES):
        response = ask(f"tags/list{query}")
        if response.status != 200:
            raise refused("GET", response)
        body = read_bounded(response, left, arrived=lambda size: keep(_PAGE_MEMORY * size))
        left -= len(body)
        if left < 0:
            raise RegistryFailure(f"the list of tags of {repository} is larger than {_MAX_BYTES} bytes")
        page = _read_page(body)
        names += len(page)
        if names > MAX_VALUES:
            raise RegistryFailure(f"the list of tags of {repository} has more than {MAX_VALUES} tags")
        tags = [name for name in page if is_tag(name)]
        keep(sum(_PLACE_BYTES + sys.getsizeof(tag) for tag in tags) - _PAGE_MEMORY * len(body))
        found += tags
        query = _next_page(response)
        if not query:
            return found
        del body, page, tags  # not kept while the next page is awaited
    raise RegistryFailure(f"the list of tags of {repository} has more than {_MAX_PAGES} pages")


def _next_page(response: BaseHTTPResponse) -> str:
    """The query of the next page, empty after the last."""
    link = response.headers.get("Link", "").partition(";")[0].strip("<> ")
    try:
        return "?" + urlsplit(link).query if link else ""
    except ValueError as exc:
        raise RegistryFailure("the registry's link to the next page of tags is not a URL") from exc


def _read_page(body: bytes) -> list[str]:
    """The tags on one page; Docker's registry sends null if there are none."""
    try:
        return list(Fields(gojson.decode(body), "struct { Tags []string }").texts("tags") or ())
    except InvalidContent as exc:
        raise RegistryFailure(f"the registry's list of tags is not readable: {exc}") from exc
