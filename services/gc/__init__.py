"""Garbage collection: leases, the sweep, and the check of the whole store."""
