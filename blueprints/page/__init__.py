"""The page for people, and what it shows as JSON for scripts: a file for each fact. `blueprints/rendering` says how a section is added."""

from flask import Blueprint

from stowage.blueprints.page import activity, assets, change, difference, family, files, free, images, layer, overview

BLUEPRINTS: tuple[Blueprint, ...] = tuple(
    module.blueprint for module in (overview, images, layer, files, difference, free, family, activity, change, assets)
)
