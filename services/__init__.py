"""The engine without HTTP: the domain, the stores, the registry client and the use cases."""
