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

from .. import ResilientError
from .advice import advise

_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


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
    """No connection to ``url`` came about; ``reason`` says why."""

    def __init__(self, reason: BaseException, url: str) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.url = url


class NobodyReads(Exception):
    """Whoever read our stdout has enough, as ``head`` does."""


def run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run a command, and say in one line what went wrong."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: warn(str(message))
        try:
            result = command.main(None if arguments is None else list(arguments), "owlsocket", standalone_mode=False)
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
    if not context:
        return ""
    of_url = isinstance(error, click.MissingParameter) and error.param is not None and error.param.name == "url"
    return f" ({'set OWLSOCKET_URL to leave it out; ' if of_url else ''}{context.command_path} --help tells more)"


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
        advice = advise(error.reason, error.url)
        return describe(error.reason) + (f" ({advice})" if advice else "")
    text = str(error)
    if isinstance(error, ResilientError) and not error.remote:
        text = text.removeprefix(getattr(error, "prefix", ""))
    return text or type(error).__name__


def say(line: str, code: Exit = Exit.OK) -> Exit:
    """One line on stderr, red on a terminal where it is an error; returns the code."""
    _tell(line, "red" if code else None)
    return code


def warn(line: str) -> None:
    """One line on stderr that begins with ``warning:``, yellow on a terminal."""
    _tell(f"warning: {line}", "yellow")


def _tell(line: str, colour: str | None) -> None:
    styled = click.style(plain(line), fg=colour) if may_paint(sys.stderr) else plain(line)
    try:
        click.echo(styled, err=True, color=True)
    except BrokenPipeError:
        _silence(sys.stderr)


def is_terminal(stream: Any) -> bool:
    """Whether somebody is in front of it; a stream that is closed from the start is ``None``."""
    return stream is not None and stream.isatty()


def may_paint(stream: Any) -> bool:
    """Whether colours may go there: to a terminal that has them, and whose user wants them (no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def put(value: Any) -> None:
    """One line of JSON on stdout, in colours on a terminal.

    Raises:
        NobodyReads: the other end of the pipe is closed.
    """
    line = plain(json.dumps(value, ensure_ascii=False))
    _write(_painted(line) if may_paint(sys.stdout) else line)


def put_line(line: str) -> None:
    """One line on stdout, at once; raises what `put` raises."""
    _write(plain(line))


def report(value: Any, words: str) -> None:
    """Words on stderr for somebody in front of a terminal, JSON on stdout for everything else."""
    if is_terminal(sys.stdout) and is_terminal(sys.stderr):
        for line in words.splitlines():
            say(line)
    else:
        put(value)


def _write(line: str) -> None:
    try:
        click.echo(line.encode("utf-8", "backslashreplace"))
    except BrokenPipeError:
        _silence(sys.stdout)
        raise NobodyReads from None


def _silence(stream: Any) -> None:
    """Have nothing more fail there, the flush at exit included."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _painted(line: str) -> str:
    from rich.console import Console
    from rich.highlighter import JSONHighlighter

    console = Console(force_terminal=True, color_system="standard", soft_wrap=True)
    with console.capture() as capture:
        console.print(JSONHighlighter()(line), end="")
    return capture.get()


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
