"""What a command ends with: one exit code, and one line on stderr where something went wrong.

Results are JSON, one line each, on stdout; everything else goes to stderr.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import warnings
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import click
from rich.console import Console

from .. import ResilientError

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


class Exit(IntEnum):
    """The exit codes; scripts rely on them."""

    OK = 0
    REMOTE_ERROR = 1
    USAGE = 2
    NO_CONNECTION = 3
    TIMEOUT = 4
    AUTHENTICATION = 5
    INTERRUPTED = 130


_BY_CODE = {
    "TIMEOUT": Exit.TIMEOUT,
    "AUTH_FAILED": Exit.AUTHENTICATION,
    "CONNECTION_LOST": Exit.NO_CONNECTION,
    "INITIALIZATION": Exit.NO_CONNECTION,
    "MALFORMED": Exit.USAGE,
    "MESSAGE": Exit.USAGE,
}


class NotConnected(Exception):
    """No connection came about; ``reason`` says why."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__(str(reason))
        self.reason = reason


class NobodyReads(Exception):
    """Whoever read our stdout has enough, as ``head`` does."""


def run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run a command, and say in one line what went wrong."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: _tell(f"warning: {message}", "yellow")
        try:
            result = command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return Exit.USAGE
        except click.ClickException as error:
            return say(error.format_message() + _hint(error), Exit.USAGE)
        except (KeyboardInterrupt, click.Abort):
            return say("interrupted", Exit.INTERRUPTED)
        except NobodyReads:
            return Exit.OK
        except Exception as error:
            return say(describe(error), exit_code(error))
    return result if isinstance(result, int) else Exit.OK


def _hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    return f" ({context.command_path} --help tells more)" if context else ""


def exit_code(error: BaseException) -> Exit:
    """The exit code that an error stands for."""
    if isinstance(error, NotConnected):
        usage = isinstance(error.reason, ValueError)
        return Exit.USAGE if usage else _BY_CODE.get(getattr(error.reason, "code", ""), Exit.NO_CONNECTION)
    if isinstance(error, ResilientError):
        known = _BY_CODE.get(error.code, Exit.REMOTE_ERROR)
        return known if known is Exit.AUTHENTICATION or not error.remote else Exit.REMOTE_ERROR
    return Exit.USAGE if isinstance(error, ValueError) else Exit.REMOTE_ERROR


def describe(error: BaseException) -> str:
    """An error in words: our own without the prefix that it would travel with, those of a peer as they came."""
    if isinstance(error, NotConnected):
        error = error.reason
    text = str(error)
    if isinstance(error, ResilientError) and not error.remote:
        text = text.removeprefix(getattr(error, "prefix", ""))
    return text or type(error).__name__


def say(line: str, code: Exit = Exit.OK) -> Exit:
    """One line on stderr, red on a terminal where it is an error; returns the code."""
    _tell(line, "red" if code else None)
    return code


def _tell(line: str, style: str | None) -> None:
    console = Console(stderr=True, soft_wrap=True, highlight=False, emoji=False)
    console.print(plain(line), style=style, markup=False)


def put(value: Any) -> None:
    """One line of JSON on stdout."""
    put_line(json.dumps(value, ensure_ascii=False))


def put_line(line: str) -> None:
    """One line on stdout, at once.

    Raises:
        NobodyReads: the other end of the pipe is closed.
    """
    try:
        click.echo(plain(line).encode("utf-8", "backslashreplace"))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail either
        raise NobodyReads from None


def plain(text: str) -> str:
    """Text that a terminal may show, on one line: what would steer it becomes an escape, as JSON writes it."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


class OneLine(logging.Formatter):
    """Log records of one line each; a traceback stays where it is."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return plain(f"{self.formatTime(record)} {record.levelname.lower()} {record.getMessage()}")


def log_to_stderr(level: int) -> None:
    """Tell on stderr what the package logs from this level on; asked twice, it tells once."""
    logger = logging.getLogger("owlsocket_sync")
    logger.setLevel(level)
    if not any(isinstance(handler.formatter, OneLine) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(OneLine())
        logger.addHandler(handler)
