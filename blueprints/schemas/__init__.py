"""Shapes of the wire."""
