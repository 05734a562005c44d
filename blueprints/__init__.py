"""HTTP only: decode, call one service, encode. One blueprint, one file, one operation."""

from flask import Blueprint

from stowage.blueprints.distribution import inspect as distribution_inspect
from stowage.blueprints.images import (
    attestations,
    create,
    delete,
    history,
    inspect,
    load,
    prune,
    push,
    save,
    save_several,
    save_since,
    search,
    tag,
)
from stowage.blueprints.images import list as list_
from stowage.blueprints.system import absent, auth, blobs, df, events, info, openapi, options, ping, version

BLUEPRINTS: tuple[Blueprint, ...] = (
    ping.blueprint,
    version.blueprint,
    info.blueprint,
    auth.blueprint,
    df.blueprint,
    events.blueprint,
    openapi.blueprint,
    absent.blueprint,
    create.blueprint,
    list_.blueprint,
    inspect.blueprint,
    history.blueprint,
    attestations.blueprint,
    tag.blueprint,
    push.blueprint,
    search.blueprint,
    delete.blueprint,
    prune.blueprint,
    load.blueprint,
    save.blueprint,
    save_several.blueprint,
    save_since.blueprint,
    blobs.blueprint,
    distribution_inspect.blueprint,
    options.blueprint,
)
"""Every route of the service."""
