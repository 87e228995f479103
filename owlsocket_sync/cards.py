"""What a notebook shows of a connection, a message, an error or a snapshot: a small card of HTML.

Classes import this when a notebook asks them for ``_repr_html_``, and never before. A card is a table with headers, so
that it can be read aloud; it takes its colours from the page, needs no script and no other file, and shows whatever a
peer wrote as text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from html import escape
from reprlib import Repr
from typing import Any, Protocol

VALUE_CHARACTERS = 2_000
STACK_CHARACTERS = 20_000
JOINERS = "\u200c\u200d"  # without them, writing and emoji of some languages fall apart

BORDER = "1px solid rgba(127,127,127,.45)"
BOX = f"display:inline-block;max-width:100%;border:{BORDER};border-radius:4px;padding:.5em .8em;line-height:1.45"
CELL = "text-align:left;vertical-align:top;padding:.1em .8em .1em 0;border:0"
LABEL = f"{CELL};font-weight:400;opacity:.75;white-space:nowrap"
TEXT = "margin:0;white-space:pre-wrap;overflow-wrap:anywhere;background:transparent;color:inherit"
COLOURS = {
    "open": "#2e9e44",
    "connecting": "#b8860b",
    "reconnecting": "#b8860b",
    "closing": "#8a8a8a",
    "closed": "#8a8a8a",
    "error": "#d1442f",
}

LABELS = {
    "pending": "Pending calls",
    "queued": "Queued messages",
    "unmatched": "Unmatched answers",
}
FOREMOST = ("latency", "pending", "queued", "reconnects")

WHAT_TO_DO = {
    "TIMEOUT": "Give it longer (timeout=…), or look at the peer; whether it did what it was asked is unknown.",
    "CONNECTION_LOST": "Look whether the server runs and the address is right. Whether a call that was sent was "
    "performed is unknown; where it may be performed twice, call with retry=True.",
    "AUTH_FAILED": "Look at who you say you are: is the token right, not too old, and allowed to do this?",
    "UNSUPPORTED": "Look at the spelling, and whether the peer has registered it on this connection.",
    "INITIALIZATION": "Make a new connection: this one cannot be used here any more.",
    "MESSAGE": "Send less at once, or raise the limit that is named (Limits).",
    "MALFORMED": "Send what JSON can say, such as dict, list, str, float, int, bool and None.",
}
PEER_FAILED = "The peer failed, not this end: its own log tells where."


class SaysItself(Protocol):
    """What a card of an error is made of; see `owlsocket_sync.ResilientError`."""

    type: str
    message: str
    original_stack: str | None
    code: str
    retryable: bool
    remote: bool


# -- the cards -------------------------------------------------------------------------------------------------------


def connection_card(connection: Any, ended: Exception | None = None) -> str:
    """A card of a connection: where it stands, what waits, and behind a fold what it has counted."""
    numbers = stats_rows(connection.stats)
    stage = connection.stage
    rows = {
        "URL": connection.url,
        **({} if stage is None else {"Authentication": getattr(stage, "value", stage)}),
        **{label(name): numbers.pop(label(name)) for name in FOREMOST},
    }
    if ended is not None:
        rows = {"Ended": str(ended), **rows}
    state = connection.state.value
    return card(f"Connection {connection.name}", rows, mark=state, said=state, folds={"Counters": table(numbers)})


def message_card(message: Any) -> str:
    """A card of a message: what it is, who sent it when, and what it carries."""
    kind = str(getattr(message.type, "value", message.type))
    rows: dict[str, object] = {}
    for called, name in (("Method", "method"), ("Event", "event"), ("Stage", "stage"), ("Id", "id")):
        value = getattr(message, name, None)
        if value not in (None, ""):
            rows[called] = getattr(value, "value", value)
    rows |= {label: value for label, value in (("From", message.sender), ("To", message.recipient)) if value}
    if message.dt is not None:
        rows["Sent"] = moment(message.dt)
    shown = "(not shown)" if kind == "auth" else pretty(message.payload)
    return card(f"Message: {kind}", rows, blocks={"Payload": shown})


def error_card(error: SaysItself) -> str:
    """A card of an error: what it is, what to do, and behind a fold the stack of the peer."""
    rows: dict[str, object] = {
        "Message": error.message,
        "Code": error.code,
        "From": "the peer" if error.remote else "this end",
        "Trying again": "may help" if error.retryable else "does not help by itself",
    }
    step, status = getattr(error, "step", None), getattr(error, "status", None)
    rows |= {label: value for label, value in (("Step", step), ("HTTP status", status)) if value is not None}
    todo = WHAT_TO_DO.get(error.code, PEER_FAILED if error.remote else "")
    if todo:
        rows["What to do"] = todo
    folds = {}
    if error.original_stack:
        folds["Stack of the peer"] = block(shorten(error.original_stack, STACK_CHARACTERS))
    return card(error.type or type(error).__name__, rows, mark="error", said="error", folds=folds)


def stats_card(stats: Any) -> str:
    """A card of a snapshot of the counters."""
    return card("Statistics", stats_rows(stats))


def stats_rows(stats: Any) -> dict[str, object]:
    """The counters of a snapshot under their labels, as people read them."""
    rows: dict[str, object] = {}
    for name, value in asdict(stats).items():
        rows[label(name)] = seconds(value) if name == "latency" else f"{value:,}"
    return rows


def label(name: str) -> str:
    """What people call a counter."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


# -- what they are made of -------------------------------------------------------------------------------------------


def card(
    title: str,
    rows: Mapping[str, object],
    *,
    mark: str = "",
    said: str = "",
    blocks: Mapping[str, str] | None = None,
    folds: Mapping[str, str] | None = None,
) -> str:
    """A box with a title, a table, and parts that may be folded.

    Args:
        title: what it is about; text.
        rows: labels and values; text.
        mark: which of the colours stands beside the title; it says nothing that ``said`` does not.
        said: the state in words.
        blocks: more rows, whose values keep their line breaks; text.
        folds: what is folded behind a label; HTML.
    """
    dot = f'<span aria-hidden="true" style="color:{COLOURS[mark]}">&#9679;</span> ' if mark else ""
    state = f" <span>({text(said)})</span>" if said else ""
    parts = [f'<div style="font-weight:600">{dot}{text(title)}{state}</div>', table(rows, blocks or {})]
    parts += [f"<details><summary>{text(label)}</summary>{inner}</details>" for label, inner in (folds or {}).items()]
    return f'<div role="group" aria-label="{text(title)}" style="{BOX}">{"".join(parts)}</div>'


def table(rows: Mapping[str, object], blocks: Mapping[str, str] | None = None) -> str:
    """A table of labels and values, both text."""
    pairs = [(label, f"<bdi>{text(value)}</bdi>") for label, value in rows.items()]
    pairs += [(label, block(value)) for label, value in (blocks or {}).items()]
    lines = (
        f'<tr style="background:transparent"><th scope="row" style="{LABEL}">{text(label)}'
        f'</th><td style="{CELL}">{value}</td></tr>'
        for label, value in pairs
    )
    return f'<table style="border:0;margin:.2em 0;font-size:inherit">{"".join(lines)}</table>'


def listing(columns: Iterable[str], rows: Iterable[Iterable[object]], caption: str) -> str:
    """A table with a header over each column; all of it text. Lines break in the last column only."""
    style = f"{CELL};border-bottom:{BORDER}"
    head = "".join(f'<th scope="col" style="{style}">{text(column)}</th>' for column in columns)
    body = "".join(f"<tr>{_cells(list(row))}</tr>" for row in rows)
    return (
        f'<table style="border:0;font-size:inherit"><caption style="text-align:left">{text(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )


def _cells(row: list[object]) -> str:
    styles = [f"{CELL};white-space:nowrap"] * (len(row) - 1) + [f"{CELL};overflow-wrap:anywhere"]
    return "".join(
        f'<td style="{style}"><bdi>{text(value)}</bdi></td>' for style, value in zip(styles, row, strict=True)
    )


def block(value: str) -> str:
    """Text that keeps its line breaks."""
    return f'<pre style="{TEXT}"><bdi>{text(value, len(value))}</bdi></pre>'


def text(value: object, characters: int = VALUE_CHARACTERS) -> str:
    """Anything as text that HTML shows as it is; what cannot be seen is written in its escaped form."""
    plain = shorten(str(value), characters)
    if not plain.isprintable():
        plain = "".join(one if one.isprintable() or one in "\n\t" + JOINERS else _spelled(one) for one in plain)
    return escape(plain)


def _spelled(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def shorten(value: str, characters: int) -> str:
    """The beginning of what is too long, and how much is left out."""
    left_out = len(value) - characters
    return value if left_out <= 0 else f"{value[:characters]}… ({left_out} characters more)"


def pretty(value: Any) -> str:
    """A payload as people read it: JSON with line breaks, cut where it is long."""
    try:
        written = json.dumps(value, indent=2, ensure_ascii=False, default=repr)
    except (TypeError, ValueError, RecursionError):
        written = Repr().repr(value)
    return shorten(written, VALUE_CHARACTERS)


def seconds(value: float | None) -> str:
    """A time as people read it."""
    if value is None:
        return "not measured yet"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"


def moment(at: float) -> str:
    """A moment, in UTC; seconds since the epoch where there is no such year."""
    try:
        return datetime.fromtimestamp(at, timezone.utc).isoformat(sep=" ", timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{at:g}"
