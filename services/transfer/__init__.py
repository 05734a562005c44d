"""Blobs on their way to and from a registry: several at once, with retries and progress."""
