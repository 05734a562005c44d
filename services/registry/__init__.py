"""Client of the OCI distribution spec; the only place that speaks outgoing HTTP."""
