"""What the page shows, as JSON for scripts: one file each."""

from flask import Blueprint

from stowage.blueprints.facts import transfer_end, transfers

BLUEPRINTS: tuple[Blueprint, ...] = (transfers.blueprint, transfer_end.blueprint)
