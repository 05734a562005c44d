"""Blobs on their way to and from a registry: several at once, tried again, with their progress."""
