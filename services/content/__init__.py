"""Bytes by digest: blobs, which are complete and verified, and ingests, which are not yet."""
