"""The texts that people meet: what the package raises, warns of, logs and answers, as its source writes it.

A text is written as the page of troubleshooting writes it: ``…`` stands for each value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.running import ROOT

PACKAGE = ROOT / "owlsocket_sync"
VALUE = "…"
CLASS = re.compile(
    r"[A-Z]\w*(Error|Timeout|Full|Corrupt|Lost|Extra|Unauthorized|Unsupported|Changed)|AuthMalformed|SocketMessageMalformed"
)
MAKERS = {
    "failed_end": ("SocketConnectionError", "{}"),
    "failed_error": ("SocketConnectionError", "{}"),
    "malformed": ("SocketMessageMalformed", f"received {{}}: {VALUE}"),
    "no_link_error": ("SocketTimeout", f"{{}}{VALUE}"),
    "unmatched": ("SocketMessageMalformed", f"received {{}}: id {VALUE}"),
}
"""Functions that make an error of the text that they are given: its class, and the whole text."""

ANSWERS = ("HandshakeRejected", "reject")
"""What refuses a handshake: with a status, and a text."""

LEVELS = ("debug", "info", "warning", "error", "exception", "outlive")
FORMATTED = re.compile(r"%[-#0 +]*\d*(?:\.\d+)?[a-z]")
WORD = re.compile(r"[A-Za-z]{2}")


@dataclass(frozen=True)
class Text:
    """One text of the source.

    Attributes:
        file: where it stands, below the package.
        line: from 1.
        kind: the class that is raised, the category of the warning, ``log``, or ``answer`` of the server.
        text: it, with ``…`` for each value.
    """

    file: str
    line: int
    kind: str
    text: str

    @property
    def has_words(self) -> bool:
        """Whether it says something by itself, and does not only pass on what it is given."""
        return WORD.search(self.text) is not None

    def __str__(self) -> str:
        return f"owlsocket_sync/{self.file}:{self.line}: {self.kind}: {self.text}"


def texts() -> Iterator[Text]:
    """All texts of the package, in the order of its files."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield from texts_in(path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8"))


def texts_in(file: str, source: str) -> Iterator[Text]:
    """Those of one file."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    for call in sorted(calls, key=lambda call: call.lineno):
        kind, text = _said_by(call)
        if text:
            yield Text(file, call.lineno, kind, text)


def _said_by(call: ast.Call) -> tuple[str, str]:
    """What a call makes of a text, and the text; both are empty where it makes nothing of the kind."""
    function = call.func
    name = (
        function.id if isinstance(function, ast.Name) else function.attr if isinstance(function, ast.Attribute) else ""
    )
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    first, second = [*call.args[:2], None, None][:2]
    if name in (*LEVELS, "log") and isinstance(function, ast.Attribute) and "logger" in ast.unparse(function.value):
        template = second if name == "log" else first
        return "log", _values(FORMATTED.sub(VALUE, written(template)))
    if name == "warn":
        category = second or named.get("category")
        return "UserWarning" if category is None else ast.unparse(category), written(first)
    if name in ANSWERS and second is not None:
        return "answer", written(second).rstrip("\n")
    if name in MAKERS and first is not None:
        kind, whole = MAKERS[name]
        return kind, _values(whole.format(written(first)))
    if CLASS.fullmatch(name):
        return name, written(first or named.get("message"))
    return "", ""


def written(node: ast.expr | None) -> str:
    """A text as the page writes it, with ``…`` for what is not known before it runs."""
    return _values(_written(node))


def _written(node: ast.expr | None) -> str:
    if node is None:
        return ""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(map(_written, node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _written(node.left) + _written(node.right)
    return VALUE


def _values(text: str) -> str:
    return re.sub(f"{VALUE}+", VALUE, text)


@dataclass(frozen=True)
class Entry:
    """A message that the page explains.

    Attributes:
        section: the heading above it.
        text: it, with ``…`` for each value.
    """

    section: str
    text: str

    def covers(self, text: Text) -> bool:
        """Whether a text of the source is the message; one of values alone is no text with words."""
        if text.has_words and not WORD.search(self.text):
            return False
        pattern = ".*".join(re.escape(part) for part in self.text.split(VALUE))
        return re.fullmatch(pattern, text.text, re.DOTALL) is not None


def entries(page: Path) -> list[Entry]:
    """The messages in the first column of the tables of a page; a cell may hold several, each in backticks."""
    found, section = [], ""
    for line in page.read_text(encoding="utf-8").splitlines():
        heading = re.match(r"#+ (.+)", line)
        if heading:
            section = heading[1]
        elif line.startswith("| `"):
            found += [Entry(section, text) for text in re.findall(r"`([^`]+)`", line.split("|")[1])]
    return found
