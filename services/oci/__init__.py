"""The published specs as pure values: OCI image spec, Docker's manifest schema 2, the reference grammar. Standard library only."""
