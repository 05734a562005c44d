"""What the page shows, as JSON for scripts: one file each."""

from flask import Blueprint

BLUEPRINTS: tuple[Blueprint, ...] = ()
