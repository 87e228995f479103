"""The syntax of a REPL line: words that are JSON values, or text in single quotes, or bare text."""

from __future__ import annotations

import json
import re
from typing import Any

from .payloads import error_position, loads

# Without escapes: who needs one writes the word as a JSON string.
_WORD = re.compile(r"'([^']*)'(?=\s|$)|(\S+)")
_decoder = json.JSONDecoder()


class ReplSyntaxError(Exception):
    """A line that cannot be parsed, or a command with wrong arguments."""


def split(line: str) -> list[Any]:
    """Split a line into words: JSON values where JSON begins, otherwise text.

    Raises:
        ReplSyntaxError: a word begins like JSON, but is not valid JSON.
    """
    words: list[Any] = []
    position = _skip_whitespace(line, 0)
    while position < len(line):
        word, position = _parse_word(line, position)
        words.append(word)
        position = _skip_whitespace(line, position)
    return words


def _parse_word(line: str, position: int) -> tuple[Any, int]:
    """Return the word at a position, and the position after it."""
    try:
        # raw_decode finds the end of the value; `loads` parses it again, with our rules for numbers.
        _, end = _decoder.raw_decode(line, position)
        if end == len(line) or line[end].isspace():
            return loads(line[position:end]), end
    except RecursionError:
        raise ReplSyntaxError("the line is nested too deeply") from None
    except ValueError as error:
        # Text such as `it's` or `12abc` is a word; a bracket or a double quote was meant as JSON.
        if line[position] in '{["':
            raise ReplSyntaxError(f"this is not valid JSON: {error_position(error)}") from None
    found = _WORD.match(line, position)
    assert found is not None
    return found[2] if found[1] is None else found[1], found.end()


def _skip_whitespace(line: str, position: int) -> int:
    while position < len(line) and line[position].isspace():
        position += 1
    return position
