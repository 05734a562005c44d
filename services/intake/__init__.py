"""Bytes become blobs: from an archive, a root file system or a registry, one writer per blob at a time."""
