"""What is sent: JSON, or text where it is no JSON; from the command line, a file (``@file``), or stdin (``-``)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from math import isinf
from pathlib import Path
from typing import Any, BinaryIO

import click

from .outcome import warn

STDIN = "-"
QUOTING = """in a shell, JSON stands in single quotes, and its names in double ones: '{"name": 1}'"""
SHOWN_CHARACTERS = 60


def read_arguments(texts: Iterable[str]) -> list[Any]:
    """Each argument as what is to be sent.

    Raises:
        click.UsageError: one cannot be read, cannot travel as it is, or stdin was asked for twice.
    """
    values, texts = [], list(texts)
    if texts.count(STDIN) > 1:
        raise click.UsageError("stdin (-) can be read once only")
    for text in texts:
        values.append(read_argument(text))
    return values


def read_argument(text: str) -> Any:
    """One argument as what is to be sent; raises what `read_arguments` raises."""
    if text == STDIN:
        return read_json(_without_newline(_decode(open_stdin().read(), "stdin")), "what came on stdin")
    if text.startswith("@") and len(text) > 1:
        return _read_file(Path(text[1:]))
    return read_json(text, repr(text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "…"))


def open_stdin() -> BinaryIO:
    """Stdin, as bytes.

    Raises:
        click.UsageError: there is none.
    """
    if sys.stdin is None:
        raise click.UsageError("stdin is closed")
    return sys.stdin.buffer


def read_json(text: str, shown: str) -> Any:
    """Text as JSON, or as it is; what seems to have been meant as JSON is told."""
    try:
        return loads(text)
    except ValueError as error:
        if text.lstrip()[:1] in ("{", "["):
            warn(f"{shown} begins like JSON but is none ({place_of(error)}), and is sent as text; {QUOTING}")
        return text


def loads(text: str) -> Any:
    """Strict JSON.

    Raises:
        ValueError: it is none.
        click.UsageError: it is JSON that cannot travel as it is.
    """
    try:
        return json.loads(text, parse_float=_read_float, parse_constant=_no_json)
    except RecursionError:
        raise click.UsageError("an argument is nested too deep") from None


def _read_file(file: Path) -> Any:
    try:
        text = _without_newline(_decode(file.read_bytes(), str(file)))
    except OSError as error:
        raise click.UsageError(
            f"@{file}: {error.strerror} (text that begins with @ is written as JSON: '\"@{file}\"')"
        ) from None
    if file.suffix != ".json":
        return read_json(text, f"what is in {file}")
    try:
        return loads(text)
    except ValueError as error:
        raise click.UsageError(f"@{file} is no JSON: {place_of(error)}") from None


def place_of(error: ValueError) -> str:
    """What is wrong with a text, and where."""
    if isinstance(error, json.JSONDecodeError):
        return f"{error.msg[:1].lower()}{error.msg[1:]} in line {error.lineno}, column {error.colno}"
    return str(error)


def _decode(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8")
    except ValueError:
        raise click.UsageError(f"{where} holds no UTF-8 text") from None


def _without_newline(text: str) -> str:
    """Without the line's end that an editor or ``echo`` put there."""
    return text[:-1].removesuffix("\r") if text.endswith("\n") else text


def _read_float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise click.UsageError(f"the number {text} is too large")
    return number


def _no_json(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")
