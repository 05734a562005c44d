"""Archive formats as bytes: tar, docker-archive, OCI layout, layer compression. No storage."""
