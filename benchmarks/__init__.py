"""What calls and events cost, here and elsewhere, measured side by side: ``python -m benchmarks``."""
