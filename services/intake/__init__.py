"""Bytes become blobs: from an archive, a root file system or a registry, one writer of a blob at a time."""
