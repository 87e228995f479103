"""The instruction guard: what the interpreter executes for each hot path, held against a budget.

``python -m benchmarks.guard`` counts, and compares with ``budgets.json``; ``--renew`` writes the counts as the new
budgets.
"""
