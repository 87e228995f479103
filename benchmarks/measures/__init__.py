"""What is measured: one module a measure, each with ``measure(arena, scale)``, which gives a `Result`.

The rest of such a module runs in the contestants' processes: a function that prepares, and returns what takes a turn.
"""
