"""Writes the table in ``docs/guarantees.md`` and its short form in ``README.md``: promises, tests, figures last seen.

Tests say by their names which row they hold (``test_row_07_…``), and note their figures where ``OWLSOCKET_FIGURES``
names a file; ``PYTHONPATH=tests python -m support.guarantees`` puts both together.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
DOCS = TESTS.parent / "docs"
PAGE = DOCS / "guarantees.md"
README = TESTS.parent / "README.md"
FIGURES = DOCS / "figures.json"

ROWS = {
    1: "The server closes the connection (FIN) during calls: every pending call raises `CONNECTION_LOST` within 0.2 s.",
    2: "The connection is reset (RST): the same, and the client tries again within 0.1 s after its backoff.",
    3: "A black hole on an idle link is detected within interval + timeout + 1 s.",
    4: "A black hole during a send: the send fails within its deadline + 0.5 s, and so do other threads' calls.",
    5: "Both ends send and neither reads: no deadlock, and every message arrives.",
    6: "A slow server: `SocketTimeout` within 50 ms of the deadline; the late reply is counted and discarded.",
    7: "A handshake that is slow, hangs or never ends: `connect` fails within its timeout + 0.5 s and 4 MiB.",
    8: "A frame cut off after any of its first bytes is never delivered; the link is lost.",
    9: "A stream split into pieces of 1 to 64 bytes delivers the same messages in the same order.",
    10: "Malformed frames: documented errors, the right close code, a new link, no hang.",
    11: "A message above the limit is refused with 1009 before memory is allocated; fragments take linear time.",
    12: "Text that is not valid UTF-8: close code 1007, and never a `UnicodeDecodeError` in user code.",
    13: "JSON bombs and wrong types: counted, reported and skipped; the link and the reader continue.",
    14: "A flood of pings: calls still get replies (p99 under 1 s), and pongs do not accumulate.",
    15: "After an outage the clients reconnect spread out, within the cap of the backoff + 2 s.",
    16: "A server that accepts and drops connections: the delays keep growing.",
    17: "No DNS, or a dead address: the other address family is tried after half the time; recovery needs no restart.",
    18: "TLS: an invalid certificate is reported, not retried; cut, stalled or rekeyed streams lose no data silently.",
    19: "TLS in both directions at once, over a network with jitter: no message is dropped or corrupted.",
    20: "1 000 reconnects leave no thread, no descriptor and no warning, and under 256 KiB.",
    21: "10 000 pending calls: each gets its own reply, and takes under 4 KiB.",
    22: "Slow handlers: memory stays bounded, no message is lost, and dropped messages are counted and reported.",
    23: "Handlers that raise, call back, close, or never return leave the connection consistent.",
    24: "Forks: the parent's link is untouched, the child connects on first use, and nothing hangs.",
    25: "The interpreter exits from every state within 2 s, without output, and with its own exit code.",
    26: "Ctrl-C in any wait: `KeyboardInterrupt` within 0.3 s, and the connection stays usable.",
    27: "Authentication refused, expired, unanswered or out of order: an `AuthError`, and no endless retries.",
    28: "Redirects are refused, and nothing is sent to their target.",
    29: "No secret appears in a log line, a repr, a traceback or an error.",
    30: "Clock jumps and suspended processes: no false timeout, and at most one reconnect.",
    31: "Parsers of untrusted bytes raise only the documented errors.",
    32: "RFC 6455, on both ends: every case of the table.",
    33: "A day of faults: no confirmed call is lost; threads, descriptors and memory stay constant.",
    34: "The embedded server with slow, idle, large, hostile and silent clients; it stops within 3 s.",
}
TABLE = re.compile(r"(?<=<!-- rows -->\n).*?(?=<!-- end of rows -->)", re.DOTALL)
SAFETY = re.compile(r"(?<=<!-- safety -->\n).*?(?=<!-- end of safety -->)", re.DOTALL)
SHOWN = {
    "the last of 101 waiting calls fails after the loss of the link within": "last of 101 pending calls failed after",
    "a silent peer is noticed, with a heartbeat of 20 + 20 s, after": "noticed after, heartbeat 20/20 s",
    "10 000 calls at once are made and answered within": "10 000 pending calls made and answered",
    "a day of faults: confirmed calls that the server never saw": "confirmed calls that the server never saw",
    "a day of faults: memory gained": "memory gained after warm-up",
    "hostile messages: links that they ended": "links lost to bombs",
    "tokens and keys found in logs, errors and tracebacks": "secrets told",
}
"""What the README shows of the figures: its words, and the end of the name of the figure."""

HEAD = "| | guarantee | verified by | last full run (limit) |\n|---|---|---|---|\n"


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
    shown: dict[str, list[str]] = {}
    for (test, what), (value, limit, unit) in sorted(worst.items()):
        shown.setdefault(test, []).append(f"{what}: {_shown(value)} {unit} ({_shown(limit)})")
    return shown


def _shown(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"


def page() -> str:
    """The page, with the table as it should be."""
    shown, tests = figures(), list(held())
    lines = [_line(row, [test for test in tests if row in test.rows], shown) for row in ROWS]
    table = HEAD + "\n".join(lines) + "\n"
    return TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8"))


def readme() -> str:
    """The README, with the worst of each figure that it shows beside its limit."""
    entries = list(json.loads(FIGURES.read_text(encoding="utf-8")).values())
    rows = ["| in the last full run of the tests | worst seen | limit |", "|---|---|---|"]
    for words, what in SHOWN.items():
        value, limit, unit = max(
            (entry["value"], entry["limit"], entry["unit"]) for entry in entries if entry["what"].endswith(what)
        )
        rows.append(f"| {words} | {_shown(value)} {unit} | {_shown(limit)} {unit} |")
    return SAFETY.sub(lambda _: "\n" + "\n".join(rows) + "\n\n", README.read_text(encoding="utf-8"))


def _line(row: int, tests: list[Held], shown: dict[str, list[str]]) -> str:
    by_file: dict[str, list[str]] = {}
    for test in tests:
        by_file.setdefault(test.file, []).append(_short(test.name))
    names = "<br>".join(f"`{file}`: {'; '.join(names)}" for file, names in by_file.items())
    seen = "<br>".join(figure for test in tests for figure in shown.get(test.name, ()))
    return f"| {row} | {ROWS[row]} | {names} | {seen or 'holds'} |"


def _short(name: str) -> str:
    return re.sub(r"^test_(?:(?:row|and)_\d\d_)+", "", name).replace("_", " ")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
