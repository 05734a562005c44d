"""What may be removed and what may not: leases, the sweep, and the scrub of the store."""
