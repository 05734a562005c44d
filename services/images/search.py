"""Search: repositories that an index finds for a term.

    term := [ host "/" ] text

The first part is a host only if it contains "." or ":" or is `localhost`; otherwise docker.io is searched, where `library/` is left out.

Source: moby daemon/pkg/registry/search.go (Search, splitReposSearchTerm).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing

from stowage.services.archive.bounds import Costs
from stowage.services.engine import Engine
from stowage.services.errors import InvalidParameter
from stowage.services.filters import Filters, parse_integer
from stowage.services.registry.credentials import Credentials
from stowage.services.registry.search import FoundRepository

_ACCEPTED = ("is-automated", "is-official", "stars")
_DEFAULT_LIMIT = 25
_MAX_LIMIT = 100


def search_images(
    engine: Engine,
    term: str,
    *,
    filters: Filters,
    limit: int = 0,
    credentials: Credentials | None = None,
    headers: Mapping[str, str] | None = None,
) -> list[FoundRepository]:
    """Find up to `limit` repositories (0: 25) and keep those that pass the filters; `headers` are sent to the index.

    Automated builds no longer exist, so filtering for them finds nothing. Raises InvalidParameter for an invalid limit, filter or term and
    for an index that does not answer, RegistryFailure for a malformed answer, and what `Costs.keep` raises for a large one.
    """
    filters.validate(_ACCEPTED)
    if filters.boolean("is-automated", False):
        return []
    official = filters.boolean("is-official", False)
    stars = _least_stars(filters)
    host, text = _split_term(term)
    if limit and not 1 <= limit <= _MAX_LIMIT:
        raise InvalidParameter(f"limit {limit} is outside the range of [1, {_MAX_LIMIT}]")
    with closing(Costs(engine.memory)) as costs:
        found = engine.registry.search(host, text, limit=limit or _DEFAULT_LIMIT, credentials=credentials, headers=headers, keep=costs.keep)
    return [
        repository
        for repository in found
        if ("is-official" not in filters or repository.is_official == official) and ("stars" not in filters or repository.stars >= stars)
    ]


def _least_stars(filters: Filters) -> int:
    """The highest number that a filter asks for, at least 0."""
    wanted = [0]
    for text in filters.get("stars"):
        try:
            wanted.append(parse_integer(text))
        except InvalidParameter as exc:
            raise InvalidParameter(f"invalid filter 'stars={text}': {exc}") from exc
    return max(wanted)


def _split_term(term: str) -> tuple[str, str]:
    """The host (empty: docker.io) and what to search there; raises InvalidParameter if there is a scheme."""
    if "://" in term:
        raise InvalidParameter(f"invalid repository name: repository name ({term}) should not have a scheme")
    first, slash, rest = term.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    host, text = (first, rest) if is_host else ("", term)
    if host in ("docker.io", "index.docker.io"):
        host = ""
    return (host, text) if host else ("", text.removeprefix("library/"))
