"""The measures: each module has a function ``measure(servers, scale)``, which returns a `Result`.

The functions ``prepare`` of a module run in the processes of the contestants: they connect, warm up, and return a
callable that measures one turn.
"""
