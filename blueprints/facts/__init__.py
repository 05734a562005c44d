"""What the page shows, as JSON for scripts: one file each."""

from flask import Blueprint

from stowage.blueprints.facts import difference, files

BLUEPRINTS: tuple[Blueprint, ...] = (files.blueprint, difference.blueprint)
