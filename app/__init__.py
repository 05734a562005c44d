"""Stowage, an image-only Docker Engine. What is installed is one package, made of the folders `app`, `blueprints` and `services`."""

__version__ = "0.1.0"
