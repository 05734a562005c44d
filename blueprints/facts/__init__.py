"""What the page shows, as JSON for scripts: one file each."""

from flask import Blueprint

from stowage.blueprints.facts import disk, family, freed, layer, transfer_end, transfers

BLUEPRINTS: tuple[Blueprint, ...] = (
    disk.blueprint,
    freed.blueprint,
    layer.blueprint,
    family.blueprint,
    transfers.blueprint,
    transfer_end.blueprint,
)
