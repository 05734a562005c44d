"""HTTP only: decode, call one service, encode. One blueprint, one file, one operation.

The folders `images`, `distribution` and `system` each list the blueprints of their files.
"""

from flask import Blueprint

from stowage.blueprints import distribution, images, system

BLUEPRINTS: tuple[Blueprint, ...] = (*system.BLUEPRINTS, *images.BLUEPRINTS, *distribution.BLUEPRINTS)
"""Every route of the service."""
