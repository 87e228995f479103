"""Typed payloads: JSON values converted to annotated types, and Python values converted to JSON."""
