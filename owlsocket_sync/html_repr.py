"""HTML cards of connections, messages, errors and statistics, for notebooks.

A card is a table with headers, which screen readers can read. It inherits the colours of the page, and needs neither
scripts nor other files. Text of a peer is always escaped. Classes import this module in ``_repr_html_`` only.
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
_ENCODER = json.JSONEncoder(indent=2, ensure_ascii=False, default=repr)
STACK_CHARACTERS = 20_000
# Invisible, but not escaped: words of some languages, and many emoji, fall apart without them.
JOINERS = "\u200c\u200d"

BORDER = "1px solid rgba(127,127,127,.45)"
BOX = f"display:inline-block;max-width:100%;border:{BORDER};border-radius:4px;padding:.5em .8em;line-height:1.45"
CELL = "text-align:left;vertical-align:top;padding:.1em .8em .1em 0;border:0"
LABEL = f"{CELL};font-weight:400;opacity:.75;white-space:nowrap"
TEXT = "margin:0;white-space:pre-wrap;overflow-wrap:anywhere;background:transparent;color:inherit"
COLORS = {
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
PRIMARY_COUNTERS = ("latency", "pending", "queued", "reconnects")

HINTS = {
    "TIMEOUT": "Allow more time (timeout=…), or check the peer. The call may or may not have been performed.",
    "CONNECTION_LOST": "Check that the server is running and the address is correct; a connection that is closed stays "
    "closed, so make a new one. A call that was sent may or may not have been performed; if it is safe to perform it "
    "twice, call with retry=True.",
    "AUTH_FAILED": "Check the token or the key: is it correct, still valid, and permitted to do this?",
    "UNSUPPORTED": "Check the spelling, and that the peer has registered a handler on this connection.",
    "INITIALIZATION": "Make a new connection: this connection cannot be used in this process.",
    "MESSAGE": "Send less at once, or raise the limit that the message names (Limits).",
    "MALFORMED": "Send values that JSON can represent, such as dict, list, str, float, int, bool and None.",
}
HINT_FOR_PEER = "The peer failed: see its log for the traceback."


class ErrorLike(Protocol):
    """The attributes of an error that its card shows; see `owlsocket_sync.ResilientError`."""

    type: str
    original_stack: str | None
    code: str
    retryable: bool
    remote: bool

    @property
    def plain_message(self) -> str:
        """The message for people."""
        ...


# -- the cards -------------------------------------------------------------------------------------------------------


def connection_card(connection: Any, ended: Exception | None = None) -> str:
    """Return the card of a connection: its state, its pending work, and its counters in a fold.

    Args:
        connection: a `Connection`.
        ended: the error that closed it.
    """
    numbers = stats_rows(connection.stats)
    stage = connection.stage
    rows = {
        "URL": connection.url,
        **({} if stage in (None, "init") else {"Authentication": getattr(stage, "value", stage)}),
        **{label(name): numbers.pop(label(name)) for name in PRIMARY_COUNTERS},
    }
    if ended is not None:
        rows = {"Ended": _safe_str(ended), **rows}
    state = connection.state.value
    details = {"Counters": table(numbers)}
    return card(f"Connection {connection.name}", rows, status_color=state, status=state, details=details)


def message_card(message: Any) -> str:
    """Return the card of a message: its type, its sender and time, its payload."""
    kind = str(getattr(message.type, "value", message.type))
    rows: dict[str, object] = {}
    for title, name in (("Method", "method"), ("Event", "event"), ("Stage", "stage"), ("Id", "id")):
        value = getattr(message, name, None)
        if value not in (None, ""):
            rows[title] = getattr(value, "value", value)
    rows |= {title: value for title, value in (("From", message.sender), ("To", message.recipient)) if value}
    if message.dt is not None:
        rows["Sent"] = moment(message.dt)
    # A notebook is saved and shared with its output, and a step of authentication may carry a token.
    payload = "(not shown)" if kind == "auth" else pretty(message.payload)
    return card(f"Message: {kind}", rows, blocks={"Payload": payload})


def error_card(error: ErrorLike) -> str:
    """Return the card of an error: its facts, a hint, and the stack of the peer in a fold."""
    rows: dict[str, object] = {
        "Message": error.plain_message,
        "Code": error.code,
        "From": "the peer" if error.remote else "this end",
        "Retrying": "may help" if error.retryable else "does not help by itself",
    }
    step, status = getattr(error, "step", None), getattr(error, "status", None)
    rows |= {title: value for title, value in (("Step", step), ("HTTP status", status)) if value is not None}
    hint = HINTS.get(error.code, HINT_FOR_PEER if error.remote else "")
    if hint:
        rows["What to do"] = hint
    details = {}
    if error.original_stack:
        details["Stack of the peer"] = block(shorten(error.original_stack, STACK_CHARACTERS))
    return card(error.type or type(error).__name__, rows, status_color="error", status="error", details=details)


def stats_card(stats: Any) -> str:
    """Return the card of a snapshot of the counters."""
    return card("Statistics", stats_rows(stats))


def stats_rows(stats: Any) -> dict[str, object]:
    """Return the counters of a snapshot by their labels, formatted."""
    rows: dict[str, object] = {}
    for name, value in asdict(stats).items():
        rows[label(name)] = seconds(value) if name == "latency" else f"{value:,}"
    return rows


def label(name: str) -> str:
    """Return the label of a counter."""
    return LABELS.get(name, name.replace("_", " ").capitalize())


# -- parts of a card -------------------------------------------------------------------------------------------------


def card(
    title: str,
    rows: Mapping[str, object],
    *,
    status_color: str = "",
    status: str = "",
    blocks: Mapping[str, str] | None = None,
    details: Mapping[str, str] | None = None,
) -> str:
    """Return a box with a title, a table and foldable parts.

    Args:
        title: the title; text.
        rows: labels and values; text.
        status_color: a key of `COLORS`, for a dot beside the title.
        status: the state in words; text.
        blocks: further rows, whose values keep their line breaks; text.
        details: folded parts by their labels; HTML.
    """
    # Hidden from screen readers: the colour only repeats the word beside it.
    dot = f'<span aria-hidden="true" style="color:{COLORS[status_color]}">&#9679;</span> ' if status_color else ""
    state = f" <span>({text(status)})</span>" if status else ""
    parts = [f'<div style="font-weight:600">{dot}{text(title)}{state}</div>', table(rows, blocks or {})]
    parts += [f"<details><summary>{text(label)}</summary>{inner}</details>" for label, inner in (details or {}).items()]
    return f'<div role="group" aria-label="{text(title)}" style="{BOX}">{"".join(parts)}</div>'


def table(rows: Mapping[str, object], blocks: Mapping[str, str] | None = None) -> str:
    """Return a table of labels and values, both text."""
    # <bdi> isolates the direction of a value: right-to-left text of a peer must not reorder what follows.
    pairs = [(label, f"<bdi>{text(value)}</bdi>") for label, value in rows.items()]
    pairs += [(label, block(value)) for label, value in (blocks or {}).items()]
    lines = (
        f'<tr style="background:transparent"><th scope="row" style="{LABEL}">{text(label)}'
        f'</th><td style="{CELL}">{value}</td></tr>'
        for label, value in pairs
    )
    return f'<table style="border:0;margin:.2em 0;font-size:inherit">{"".join(lines)}</table>'


def listing(columns: Iterable[str], rows: Iterable[Iterable[object]], caption: str) -> str:
    """Return a table with column headers; all arguments are text. Lines break in the last column only."""
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
    """Return text that keeps its line breaks, as HTML."""
    return f'<pre style="{TEXT}"><bdi>{text(value, len(value))}</bdi></pre>'


def text(value: object, characters: int = VALUE_CHARACTERS) -> str:
    """Return a value as escaped HTML text, its invisible characters as Python escapes."""
    plain = shorten(_safe_str(value), characters)
    # Overrides of direction make text read as another one; a lone surrogate cannot be sent to the browser at all.
    if not plain.isprintable():
        visible = "\n\t" + JOINERS
        plain = "".join(
            character if character.isprintable() or character in visible else _escape_char(character)
            for character in plain
        )
    return escape(plain)


def _safe_str(value: object) -> str:
    # As `errors.safe_text`, which is not below this module: a card must show also an error whose text cannot be read.
    try:
        return str(value)
    except KeyboardInterrupt:
        raise
    except BaseException:
        return f"<{type(value).__name__}>"


def _escape_char(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def shorten(value: str, characters: int) -> str:
    """Return the beginning of a long text, with the number of omitted characters."""
    omitted = len(value) - characters
    return value if omitted <= 0 else f"{value[:characters]}… ({omitted} characters more)"


def pretty(value: Any) -> str:
    """Return a payload as indented JSON, shortened."""
    pieces: list[str] = []
    size = 0
    try:
        # Piece by piece: indented, a deep payload of some hundred KiB takes hundreds of MiB, most of them spaces.
        for piece in _ENCODER.iterencode(value):
            if size > VALUE_CHARACTERS:
                return "".join(pieces)[:VALUE_CHARACTERS] + "… (more)"
            pieces.append(piece)
            size += len(piece)
    except (TypeError, ValueError, RecursionError):
        # reprlib bounds depth and length, so that neither a cycle nor deep nesting is a problem.
        return shorten(Repr().repr(value), VALUE_CHARACTERS)
    return shorten("".join(pieces), VALUE_CHARACTERS)


def seconds(value: float | None) -> str:
    """Return a duration with its unit."""
    if value is None:
        return "not measured yet"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.2f} ms"


def moment(at: float) -> str:
    """Return a time in UTC; the number of seconds where it is outside of the range of datetime."""
    try:
        return datetime.fromtimestamp(at, timezone.utc).isoformat(sep=" ", timespec="milliseconds")
    except (OverflowError, ValueError, OSError):
        return f"{at:g}"
