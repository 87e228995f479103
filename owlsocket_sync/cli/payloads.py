"""Arguments and payloads: JSON, or text; from the command line, a file (``@file``) or stdin (``-``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from math import isinf
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..contrib.exit_codes import refuse_constant
from .output import print_warning

STDIN = "-"
QUOTING = """in a shell, quote JSON with single quotes, and its names with double quotes: '{"name": 1}'"""
MAX_QUOTED = 60


def read_arguments(texts: Iterable[str]) -> list[Any]:
    """Return the value of each argument.

    Raises:
        click.UsageError: an argument cannot be read or sent, or stdin is named twice.
    """
    values, texts = [], list(texts)
    if texts.count(STDIN) > 1:
        raise click.UsageError("stdin (-) can be read only once")
    for text in texts:
        values.append(read_argument(text))
    return values


def read_argument(text: str) -> Any:
    """Return the value of one argument; raise what `read_arguments` raises."""
    if text == STDIN:
        return parse_json(_without_newline(_decode(open_stdin().read(), "stdin")), "the text from stdin")
    if text.startswith("@") and len(text) > 1:
        return _read_file(Path(text[1:]))
    return parse_json(text, repr(text if len(text) <= MAX_QUOTED else text[:MAX_QUOTED] + "…"))


def open_stdin() -> BinaryIO:
    """Return stdin as a stream of bytes.

    Raises:
        click.UsageError: stdin is closed.
    """
    # None where the descriptor was closed when the interpreter started.
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    return sys.stdin.buffer


def parse_json(text: str, name: str) -> Any:
    """Return text parsed as JSON, or the text itself; warn if it was probably meant as JSON.

    Args:
        text: the text.
        name: how a warning names the text.
    """
    try:
        return loads(text)
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "["):
            print_warning(f"{name} is not valid JSON ({error_position(error)}) and is sent as text; {QUOTING}")
        return text


def loads(text: str) -> Any:
    """Return text parsed as strict JSON.

    Raises:
        ValueError: the text is not valid JSON.
        click.UsageError: the text is valid JSON, but cannot be sent.
    """
    try:
        # Not orjson: the standard library reads integers of any size, which are refused later with their own error,
        # and names the line and the column of a mistake.
        return json.loads(text, parse_float=_parse_float, parse_constant=refuse_constant)
    except RecursionError:
        raise click.UsageError("an argument is nested too deeply") from None


def _read_file(file: Path) -> Any:
    try:
        text = _without_newline(_decode(file.read_bytes(), str(file)))
    except OSError as error:
        raise click.UsageError(
            f"@{file}: {error.strerror} (to send text that begins with @, write it as JSON: '\"@{file}\"')"
        ) from None
    if file.suffix != ".json":
        return parse_json(text, f"the text in {file}")
    # A .json file was meant as JSON: an error, where other files are sent as text with a warning.
    try:
        return loads(text)
    except ValueError as error:
        raise click.UsageError(f"@{file} is not valid JSON: {error_position(error)}") from None


def error_position(error: ValueError) -> str:
    """Return the message of a JSON error, with line and column."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} in line {error.lineno}, column {error.colno}"
    return str(error)


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except ValueError:
        raise click.UsageError(f"{name} is not UTF-8 text") from None


def _without_newline(text: str) -> str:
    """Return text without the final line end, which editors and ``echo`` add."""
    return text[:-1].removesuffix("\r") if text.endswith("\n") else text


def _parse_float(text: str) -> float:
    number = float(text)
    # 1e999 is valid JSON, and infinity in Python, which the encoder would send as null.
    if isinf(number):
        raise click.UsageError(f"the number {text} is too large")
    return number
