"""gunicorn as this service runs it: its settings, and a threaded worker that idle clients cannot exhaust."""
