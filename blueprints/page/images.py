"""The list of images, one image, and a search by the names, IDs and digests that docker prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, redirect
from flask.typing import ResponseReturnValue
from marshmallow import fields

from stowage.blueprints.access import visible
from stowage.blueprints.rendering.answer import PAGE, render
from stowage.blueprints.rendering.text import query_text
from stowage.blueprints.request import load_query
from stowage.blueprints.schemas.base import QuerySchema
from stowage.blueprints.schemas.fields import Bytes, Count, DockerBool, PlatformSpecifier
from stowage.services.filters import Filters, is_glob
from stowage.services.images.attestations import read_predicate_types
from stowage.services.images.browse import browse_images, find_image, name_of, stored_platform
from stowage.services.images.inspect import inspect_image
from stowage.services.images.layers import find_blob, is_image, read_layers
from stowage.services.metadata.records import Order, SortKey
from stowage.services.metadata.summary import ManifestKind
from stowage.services.system.disk import unique_bytes

blueprint = Blueprint("page_images", __name__)

_PER_PAGE = 50
_FILTERS = ("reference", "label", "label!", "before", "since", "until")
_ATTESTATIONS = 100
"""Of how many attestations of an image the types are shown."""


class _Sort(fields.Field[Order]):
    """`KEY`, or `-KEY` for the last first."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **_: Any) -> Order:
        key = value.removeprefix("-")
        return Order(SortKey(key), value.startswith("-")) if key in list(SortKey) else Order()


class ImagesQuery(QuerySchema):
    """The filters of `docker image ls`, and `part`, a part of a name; those that are empty do not count. `done` is what has just been done,
    and `freed` its bytes.
    """

    reference = fields.String(load_default="")
    part = fields.String(load_default="")
    label = fields.String(load_default="")
    label_not = fields.String(data_key="label!", attribute="label!", load_default="")
    before = fields.String(load_default="")
    since = fields.String(load_default="")
    until = fields.String(load_default="")
    dangling = DockerBool(load_default=False)
    sort = _Sort(load_default=Order())
    page = Count(load_default=1, most=1_000_000)
    done = fields.String(load_default="")
    freed = Bytes(load_default=None)


class ImageQuery(QuerySchema):
    """The platform that is shown, by default the one that lists show, or another one if only that is stored; `done` is what a form has just
    done.
    """

    done = fields.String(load_default="")
    platform = PlatformSpecifier(load_default=None)


class FindQuery(QuerySchema):
    """`q` is the name or the ID of an image, the digest of a layer, the beginning of one of these, or a part of a name."""

    text = fields.String(data_key="q", load_default="")


@blueprint.get("/ui/images", query=ImagesQuery, answer=PAGE, pace="listing")
def page_images() -> Response:
    """GET /ui/images."""
    query = load_query()
    start, part, order = (query["page"] - 1) * _PER_PAGE, query["part"].strip(), query["sort"]
    found = browse_images(visible(), filters=_filters(query), part=part, order=order, start=start, count=_PER_PAGE)
    sort = "-" * order.descending + order.key
    shown = {name: query[name] for name in ("part", *_FILTERS) if query[name]} | ({"dangling": "true"} if query["dangling"] else {})
    links = {"filters": query_text(shown), "all": query_text(shown | {"sort": sort})}
    pages: dict[str, Any] = {"number": found.start // _PER_PAGE + 1, "pages": -(-found.total // _PER_PAGE)}
    return render("images.html", found=found, given=query | {"sort": sort}, links=links, part=_part(query), unique=unique_bytes, **pages)


@blueprint.get("/ui/images/<path:name>", query=ImageQuery, answer=PAGE, pace="quick")
def page_image(name: str) -> Response:
    """GET /ui/images/{name}."""
    engine, query = visible(), load_query()
    entry = find_image(engine, name)
    platform = query["platform"] or stored_platform(engine, entry)
    shown = inspect_image(engine, str(entry.id), platform=platform, partly=True)
    layers = read_layers(engine, str(entry.id), platform=platform)
    attestations = [each.descriptor.digest for each in entry.manifests if each.kind is ManifestKind.ATTESTATION][:_ATTESTATIONS]
    facts: dict[str, Any] = {"shown": shown, "layers": layers, "predicates": read_predicate_types(engine, attestations)}
    given: dict[str, Any] = {"known_as": name_of(entry, name), "platform": platform, "done": query["done"]}
    return render("image.html", entry=entry, unique=unique_bytes, **facts, **given)


@blueprint.get("/ui/find", query=FindQuery, answer=PAGE, pace="quick")
def page_find() -> ResponseReturnValue:
    """GET /ui/find."""
    text = load_query()["text"].strip()
    if is_image(visible(), text):
        return redirect(f"/ui/images/{quote(text, safe='/:@')}")
    blob = find_blob(visible(), text)
    return redirect(f"/ui/layers/{blob}" if blob else f"/ui/images?part={quote(text, safe='')}")


def _part(query: Mapping[str, Any]) -> str:
    """What to look for in all names instead of a name that is whole."""
    reference: str = query["reference"].strip()
    return "" if is_glob(reference) else reference


def _filters(query: Mapping[str, Any]) -> Filters:
    filters = Filters().adding("dangling", "true") if query["dangling"] else Filters()
    for name in _FILTERS:
        if query[name].strip():
            filters = filters.adding(name, query[name].strip())
    return filters
