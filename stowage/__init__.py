"""Stowage, an image-only Docker Engine. What is installed is this package; `app`, `blueprints` and `services` are folders of it."""

__version__ = "0.1.0"
