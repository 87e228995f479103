"""Writes the table in ``docs/guarantees.md``: each promise, the tests that hold it, and the figures last seen.

Tests say by their names which row they hold (``test_row_07_…``), and note their figures where ``OWLSOCKET_FIGURES``
names a file; ``python tests/guarantees.py`` puts both together.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parent
DOCS = TESTS.parent / "docs"
PAGE = DOCS / "guarantees.md"
FIGURES = DOCS / "figures.json"

ROWS = {
    1: "A server that is gone (FIN) in the middle of calls: every pending call raises `CONNECTION_LOST` within 0.2 s.",
    2: "A reset (RST): the same; a new link is tried no later than 0.1 s after its backoff.",
    3: "A black hole on an idle link is noticed within interval + timeout + 1 s.",
    4: "A black hole while sending: a blocked send ends at its deadline + 0.5 s, other threads' calls at theirs.",
    5: "Both ends send and neither reads: no deadlock, everything arrives.",
    6: "A slow server: `SocketTimeout` within 50 ms of the deadline; the late answer is counted and given to nobody.",
    7: "A handshake that drips, hangs or pours: `connect` fails at its timeout + 0.5 s, within 4 MiB of memory.",
    8: "A frame that breaks off at any of its first bytes is never delivered; the link is lost.",
    9: "A stream cut into pieces of 1 to 64 bytes brings the same messages in the same order.",
    10: "Frames that are garbage: documented errors, the right close code, a new link, no hang.",
    11: "Messages beyond the limit are refused with 1009 before room is made for them; fragments cost linear time.",
    12: "Text that is no UTF-8: 1007, and never a `UnicodeDecodeError` in a user's code.",
    13: "JSON bombs and wrong types: counted, reported, passed over; the link and its reader live.",
    14: "A flood of pings: calls are answered (p99 under 1 s), pongs do not pile up.",
    15: "Clients of a server that was away come back spread out, within the cap of the backoff + 2 s.",
    16: "A server that accepts and drops: the waits go on growing.",
    17: "No DNS, or a dead address: the other family is tried in half the time, and recovery needs no restart.",
    18: "TLS: a bad certificate is said and not retried; streams cut, stalled, rekeyed lose nothing in silence.",
    19: "TLS in both directions at once, through a network that jitters: nothing is dropped, nothing is mixed up.",
    20: "1 000 reconnects leave no thread, no descriptor, no warning, and less than 256 KiB.",
    21: "10 000 calls in flight: each gets its own answer; less than 4 KiB each.",
    22: "Handlers that are slow: memory stays bounded, nothing is lost, what is dropped is counted and told.",
    23: "Handlers that raise, call back, close, or never return leave the connection consistent.",
    24: "Forks: the parent's link is untouched, the child works on its first use, nothing hangs.",
    25: "The interpreter exits from every state within 2 s, in silence, with its own return code.",
    26: "Ctrl-C in any wait: `KeyboardInterrupt` within 0.3 s, and a connection that goes on.",
    27: "Authentication refused, expired, never answered, out of order: an `AuthError`, and no endless retries.",
    28: "Redirects are refused, and nothing of ours reaches where they lead.",
    29: "No secret shows in a log line, a repr, a traceback or an error.",
    30: "Clocks that jump and processes that sleep: no false death, one reconnect at most.",
    31: "Readers of foreign bytes raise what is documented, and nothing else.",
    32: "RFC 6455, on either side: every case of the table.",
    33: "A day of faults: no confirmed call is lost; threads, descriptors and memory stay level.",
    34: "The embedded server under slow, idle, large, hostile and silent clients; it stops within 3 s.",
}
TABLE = re.compile(r"(?<=<!-- rows -->\n).*?(?=<!-- end of rows -->)", re.DOTALL)
HEAD = "| | promise | held by | last seen (limit) |\n|---|---|---|---|\n"


class Held(NamedTuple):
    """A test, and where it stands."""

    file: str
    name: str
    rows: frozenset[int]


def held() -> Iterator[Held]:
    """The tests whose names say which rows they hold."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_row_"):
                rows = re.findall(r"_(\d\d)(?=_)", node.name)
                yield Held(str(path.relative_to(TESTS)), node.name, frozenset(map(int, rows)))


def figures() -> dict[str, list[str]]:
    """The worst of each figure, by test."""
    worst: dict[tuple[str, str], tuple[float, float, str]] = {}
    for entry in json.loads(FIGURES.read_text(encoding="utf-8")).values():
        key = entry["test"].split("::")[-1].split("[")[0], entry["what"]
        seen = (entry["value"], entry["limit"], entry["unit"])
        worst[key] = max(worst.get(key, seen), seen)
    told: dict[str, list[str]] = {}
    for (test, what), (value, limit, unit) in sorted(worst.items()):
        told.setdefault(test, []).append(f"{what}: {_shown(value)} {unit} ({_shown(limit)})")
    return told


def _shown(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


def page() -> str:
    """The page, with the table as it should be."""
    told, tests = figures(), list(held())
    lines = [_line(row, [one for one in tests if row in one.rows], told) for row in ROWS]
    table = HEAD + "\n".join(lines) + "\n"
    return TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8"))


def _line(row: int, tests: list[Held], told: dict[str, list[str]]) -> str:
    by_file: dict[str, list[str]] = {}
    for one in tests:
        by_file.setdefault(one.file, []).append(_short(one.name))
    names = "<br>".join(f"`{file}`: {'; '.join(names)}" for file, names in by_file.items())
    seen = "<br>".join(figure for one in tests for figure in told.get(one.name, ()))
    return f"| {row} | {ROWS[row]} | {names} | {seen or 'holds'} |"


def _short(name: str) -> str:
    return re.sub(r"^test_(?:(?:row|and)_\d\d_)+", "", name).replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
