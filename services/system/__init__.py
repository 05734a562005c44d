"""Use cases of the engine itself: version, info, disk usage, events, logins, transfers."""
