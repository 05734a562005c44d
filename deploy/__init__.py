"""Examples for an installation: a systemd unit and a site for nginx. `stowage deploy-files` prints where they are."""
