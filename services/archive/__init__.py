"""Archive formats as bytes: tar, docker-archive, OCI layout and layer compression. Nothing is stored here."""
