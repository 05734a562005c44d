"""Images in the store: found by name, described, filtered, read and published; what the use cases share."""
