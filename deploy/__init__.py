"""Examples for an installation, which `stowage deploy-files` finds: for systemd, nginx, Prometheus and Grafana."""
