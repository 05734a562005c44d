"""The page for people: one view, one file. `blueprints/rendering` says how a section is added."""

from flask import Blueprint

from stowage.blueprints.page import (
    activity,
    activity_events,
    activity_transfers,
    assets,
    delete,
    difference,
    entrance,
    family,
    files,
    find,
    free,
    image,
    images,
    layer,
    overview,
    prune,
    tag,
    transfer_end,
)

BLUEPRINTS: tuple[Blueprint, ...] = (
    entrance.blueprint,
    overview.blueprint,
    images.blueprint,
    image.blueprint,
    layer.blueprint,
    files.blueprint,
    difference.blueprint,
    find.blueprint,
    free.blueprint,
    family.blueprint,
    activity.blueprint,
    activity_transfers.blueprint,
    activity_events.blueprint,
    transfer_end.blueprint,
    delete.blueprint,
    tag.blueprint,
    prune.blueprint,
    assets.blueprint,
)
