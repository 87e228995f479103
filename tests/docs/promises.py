"""What a page promises to be printed: the comments behind ``print`` calls, and the output under commands."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass

from docs.blocks import PageError

ANYTHING = "…"
COMMAND = re.compile(r"^\$ (?P<command>.*)$")


@dataclass(frozen=True)
class Printed:
    """A ``print`` that says what it prints; the lines are those of its file."""

    first: int
    last: int
    text: str


@dataclass
class Typed:
    """A command of a console block, and what it should answer."""

    command: str
    output: str


def printed_by(source: str, offset: int = 0) -> list[Printed]:
    """The promises of a piece of Python: one for each call of ``print`` with a comment behind it.

    Raises:
        PageError: it is no Python.
    """
    try:
        tree = ast.parse(source)
        comments = {
            token.start[0]: token.string.lstrip("#").strip()
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
    except (SyntaxError, tokenize.TokenError) as error:
        raise PageError(f"line {offset + 1}: this is no Python: {error}") from error
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            last = node.end_lineno or node.lineno
            if last in comments:
                found.append(Printed(node.lineno + offset, last + offset, comments[last]))
    return found


def typed_in(block: str) -> list[Typed]:
    """The commands of a console block, each with the lines under it; ``> `` continues a command.

    Raises:
        PageError: it does not begin with a command.
    """
    found: list[Typed] = []
    for line in block.splitlines():
        command = COMMAND.match(line)
        if command:
            found.append(Typed(command["command"], ""))
        elif not found:
            raise PageError(f"a console block begins with '$ command', not with {line!r}")
        elif line.startswith("> ") and not found[-1].output and found[-1].command.endswith("\\"):
            found[-1].command += "\n" + line[2:]
        else:
            found[-1].output += line + "\n"
    return found


def is_as_promised(promised: str, came: str) -> bool:
    """Whether a text is the promised one; ``…`` stands for anything, alone on its line for any number of lines."""
    pattern = "".join(
        r"(?:[^\n]*\n)*?" if line.strip() == ANYTHING else _of_line(line) + "\n" for line in _lines(promised)
    )
    return re.fullmatch(pattern, "".join(line + "\n" for line in _lines(came)), re.DOTALL) is not None


def _of_line(line: str) -> str:
    return ".*".join(re.escape(part) for part in line.split(ANYTHING))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip("\n").splitlines()] if text.strip() else []
