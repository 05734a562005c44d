"""What the page shows, as JSON for scripts: one file each."""

from flask import Blueprint

from stowage.blueprints.facts import difference, disk, family, files, freed, layer

BLUEPRINTS: tuple[Blueprint, ...] = (
    disk.blueprint,
    freed.blueprint,
    layer.blueprint,
    family.blueprint,
    files.blueprint,
    difference.blueprint,
)
