"""Names and texts of a foreign server, made safe for the source of a stub: no text of it becomes code."""

from __future__ import annotations

import keyword
import re

from ..values import escape_for_log, truncate

WIDTH = 88
"""The longest line, where a line can be broken: that of ruff and black without a setting."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z", re.ASCII)


def is_name(text: str) -> bool:
    """Return whether a text is a public name of Python, in ASCII: other letters are normalized, and become others."""
    return bool(_NAME.match(text)) and not keyword.iskeyword(text)


def class_name(text: str, fallback: str) -> str:
    """Return a name of a class for any text: ``users.admin`` becomes ``UsersAdmin``."""
    # Without underscores: names that begin with one are left for what the stub itself defines.
    words = re.findall(r"[A-Za-z0-9]+", text)
    name = "".join(word[:1].upper() + word[1:] for word in words)[:60]
    return name if is_name(name) else f"{fallback}{name}"


def free_name(name: str, taken: set[str]) -> str:
    """Return a name that is not taken yet, with a number if it has to be, and take it."""
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f"{name}{number}"
    taken.add(candidate)
    return candidate


def quoted(text: str) -> str:
    """Return the literal of a text, for Python and without surprises on a terminal: unprintable ones are escaped."""
    return '"' + "".join(map(_escaped, text)) + '"'


def _escaped(character: str) -> str:
    # Escapes of these forms mean the same in Python and, for the short ones, in every reader of source.
    if character in '\\"':
        return f"\\{character}"
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode()


def one_line(text: str, width: int) -> str:
    """Return a text as one printable line of at most so many characters."""
    return truncate(escape_for_log(text), max(1, width - 1))


def docstring(text: str, indent: str) -> str:
    """Return a line with a docstring, in which no text can end it."""
    line = one_line(text, WIDTH - len(indent) - 6)
    line = line.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    line = f'{line[:-1]}\\"' if line.endswith('"') else line
    return f'{indent}"""{line}"""'
