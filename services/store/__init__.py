"""Shared by the use cases: finding images by name, describing, filtering, reading and publishing them."""
