"""HTTP only: decode, call one service, encode. One blueprint, one file, one operation.

The folders `images`, `distribution` and `system` each list the blueprints of their files, for Docker's clients. `page` lists those of the
page for people, whose views also answer with what it shows as JSON.
"""

from flask import Blueprint

from stowage.blueprints import distribution, images, page, system

BLUEPRINTS: tuple[Blueprint, ...] = (*system.BLUEPRINTS, *images.BLUEPRINTS, *distribution.BLUEPRINTS)
"""Every route of the service but the page's."""

PAGE_BLUEPRINTS: tuple[Blueprint, ...] = page.BLUEPRINTS
"""The routes that there are unless STOWAGE_UI is off."""
