"""Bytes by digest: blobs that are whole and verified, and ingests that are neither yet."""
