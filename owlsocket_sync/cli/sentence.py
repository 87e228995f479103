"""A line of the REPL taken apart: JSON values as they are, text in single quotes or bare, no shell in between."""

from __future__ import annotations

import json
import re
from typing import Any

from .payloads import loads, place_of

_WORD = re.compile(r"'([^']*)'(?=\s|$)|(\S+)")
_decoder = json.JSONDecoder()


class Misspoken(Exception):
    """A line that cannot be read."""


def split(line: str) -> list[Any]:
    """The words of a line: JSON where one begins, text else.

    Raises:
        Misspoken: a value that begins like JSON has no end.
    """
    words: list[Any] = []
    place = _past_blanks(line, 0)
    while place < len(line):
        word, place = _next(line, place)
        words.append(word)
        place = _past_blanks(line, place)
    return words


def _next(line: str, place: int) -> tuple[Any, int]:
    try:
        _, end = _decoder.raw_decode(line, place)
        if end == len(line) or line[end].isspace():
            return loads(line[place:end]), end
    except RecursionError:
        raise Misspoken("it is nested too deep") from None
    except ValueError as error:
        if line[place] in '{["':
            raise Misspoken(f"this begins like JSON but is none: {place_of(error)}") from None
    found = _WORD.match(line, place)
    assert found is not None
    return found[2] if found[1] is None else found[1], found.end()


def _past_blanks(line: str, place: int) -> int:
    while place < len(line) and line[place].isspace():
        place += 1
    return place
