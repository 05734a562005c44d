"""What the page shows, as JSON for scripts: one file each."""

from flask import Blueprint

from stowage.blueprints.facts import difference, disk, family, files, freed, layer, transfer_end, transfers

BLUEPRINTS: tuple[Blueprint, ...] = (
    disk.blueprint,
    freed.blueprint,
    layer.blueprint,
    family.blueprint,
    files.blueprint,
    difference.blueprint,
    transfers.blueprint,
    transfer_end.blueprint,
)
