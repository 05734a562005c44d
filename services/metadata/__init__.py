"""Names, manifests, edges and leases: everything the engine knows about its blobs, as rows."""
