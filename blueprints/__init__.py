"""HTTP only: decode, call one service, encode. One blueprint, one file, one operation."""

from flask import Blueprint

from blueprints.images import create, delete, get, history, inspect, load, prune, tag
from blueprints.images import list as list_
from blueprints.system import containers, info, options, ping, version

BLUEPRINTS: tuple[Blueprint, ...] = (
    ping.blueprint,
    version.blueprint,
    info.blueprint,
    containers.blueprint,
    create.blueprint,
    list_.blueprint,
    inspect.blueprint,
    history.blueprint,
    tag.blueprint,
    delete.blueprint,
    prune.blueprint,
    load.blueprint,
    get.blueprint,
    options.blueprint,
)
"""Every route of the service."""
