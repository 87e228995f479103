"""Benchmarks of this client and of others, measured side by side: ``python -m benchmarks``."""
