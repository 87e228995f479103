"""Accidents that happen to valid inputs: bytes lost, changed or doubled, words of the grammar put in, inputs joined."""

from __future__ import annotations

from hypothesis import strategies as st

from fuzz.target import Target

MOST_ACCIDENTS = 5

Accident = tuple[str, int, int, bytes]


def inputs_of(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs for a reader: mostly valid ones after accidents, some words of its grammar alone, a few of any bytes."""
    seeds = target.inputs()
    filling = st.sampled_from(target.words) | st.binary(max_size=8)
    accident = st.tuples(
        st.sampled_from(("cut", "put", "overwrite", "double", "flip", "end")),
        st.integers(0, 10_000),
        st.integers(1, 200),
        filling,
    )
    broken = st.builds(
        _happen,
        st.lists(st.sampled_from(seeds), min_size=1, max_size=2),
        st.lists(accident, max_size=MOST_ACCIDENTS),
    )
    words = st.lists(filling, max_size=8).map(b"".join)
    return st.one_of(broken, broken, broken, broken, words, st.binary(max_size=64))


def _happen(seeds: list[bytes], accidents: list[Accident]) -> bytes:
    data = b"".join(seeds)
    for kind, place, size, filling in accidents:
        at = place % (len(data) + 1)
        before, hit, after = data[:at], data[at : at + size], data[at + size :]
        if kind == "cut":
            data = before + after
        elif kind == "put":
            data = before + filling + hit + after
        elif kind == "overwrite":
            data = before + filling + data[at + len(filling) :]
        elif kind == "double":
            data = before + hit + hit + after
        elif kind == "flip" and hit:
            data = before + bytes([hit[0] ^ (1 << size % 8)]) + hit[1:] + after
        elif kind == "end":
            data = before
    return data
