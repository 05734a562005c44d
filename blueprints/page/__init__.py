"""The page for people: one view, one file. `blueprints/rendering` says how a section is added."""

from flask import Blueprint

from stowage.blueprints.page import activity, assets, entrance, family, image, images, overview

BLUEPRINTS: tuple[Blueprint, ...] = (
    entrance.blueprint,
    overview.blueprint,
    images.blueprint,
    image.blueprint,
    family.blueprint,
    activity.blueprint,
    assets.blueprint,
)
