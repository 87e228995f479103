"""Output of the commands: results as JSON, one line each, on stdout; everything else on stderr."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import click

from .. import SocketTimeout
from ..contrib.exit_codes import ExitCode, escape_control, exit_code, redirect_to_devnull, to_json_line
from .hints import with_hint


class BrokenStdout(Exception):
    """The reader of stdout has closed the pipe, as ``head`` does; the command ends with exit code 0."""


def run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run a command, print one line on stderr where it fails, and return the exit code."""
    with warnings.catch_warnings():
        # Python's own format names a file and a line of ours, which a shell user has no use for.
        warnings.showwarning = lambda message, *_: print_warning(str(message))
        try:
            # standalone_mode would end the process, with the exit codes of click.
            result = command.main(None if arguments is None else list(arguments), "owlsocket", standalone_mode=False)
        # A subclass of UsageError: without this clause, the whole help would be escaped into one line.
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message(), err=True)
            return ExitCode.USAGE
        except click.ClickException as error:
            # click lists the values of a choice one below the other.
            return print_error(" ".join(error.format_message().split()) + _usage_hint(error), ExitCode.USAGE)
        except (KeyboardInterrupt, click.Abort):
            return print_error("interrupted", ExitCode.INTERRUPTED)
        except BrokenStdout:
            return ExitCode.OK
        except Exception as error:
            return print_error(with_hint(error), exit_code(error))
    return result if isinstance(result, int) else ExitCode.OK


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if not context:
        return ""
    of_url = isinstance(error, click.MissingParameter) and error.param is not None and error.param.name == "url"
    return f" ({'set OWLSOCKET_URL to omit it; ' if of_url else ''}see {context.command_path} --help)"


def print_error(line: str, code: ExitCode) -> ExitCode:
    """Print one line on stderr, red on a terminal, and return the code."""
    _print_on_stderr(line, "red")
    return code


def print_status(line: str) -> None:
    """Print one line on stderr."""
    _print_on_stderr(line, None)


def print_warning(line: str) -> None:
    """Print one line on stderr that begins with ``warning:``, yellow on a terminal."""
    _print_on_stderr(f"warning: {line}", "yellow")


def _print_on_stderr(line: str, color: str | None) -> None:
    line = escape_control(line)
    try:
        # color=True: click would strip the escapes by its own rule, and use_color has decided already.
        click.echo(click.style(line, fg=color) if use_color(sys.stderr) else line, err=True, color=True)
    except BrokenPipeError:
        # The exit code still tells the result; an error about an error line would hide it.
        redirect_to_devnull(sys.stderr)


def is_terminal(stream: Any) -> bool:
    """Return whether a stream is a terminal."""
    # Python sets sys.stdin, stdout and stderr to None where the descriptor was closed from the start (`<&-`).
    return stream is not None and stream.isatty()


def use_color(stream: Any) -> bool:
    """Return whether to write colors: only to a terminal that supports them, and not with NO_COLOR (no-color.org)."""
    return is_terminal(stream) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def print_json(value: Any) -> None:
    """Print one line of JSON on stdout, in colors on a terminal.

    Raises:
        BrokenStdout: the other end of the pipe is closed.
    """
    # Escaped before it is colored: the escape sequences of the colors are the only ones that may reach the terminal.
    line = escape_control(to_json_line(value, ensure_ascii=False))
    _write(_colorize(line) if use_color(sys.stdout) else line)


def print_responses(responses: Iterable[Any], limit: int | None) -> None:
    """Print each response, until there were so many, or none arrives in time.

    Raises:
        SocketTimeout: there was not a single one.
        BrokenStdout: the other end of the pipe is closed.
    """
    count = 0
    try:
        for response in responses:
            print_json(response)
            count += 1
            if count == limit:
                return
    except SocketTimeout:
        if not count:
            raise


def print_line(line: str) -> None:
    """Print one line on stdout; raise what `print_json` raises."""
    _write(escape_control(line))


def print_report(value: Any, text: str) -> None:
    """Print text on stderr for a user at a terminal, and JSON on stdout for a script."""
    if is_terminal(sys.stdout) and is_terminal(sys.stderr):
        for line in text.splitlines():
            print_status(line)
    else:
        print_json(value)


def _write(line: str) -> None:
    try:
        # Bytes, not text: a terminal with another encoding than UTF-8 would raise UnicodeEncodeError in print.
        click.echo(line.encode("utf-8", "backslashreplace"))
    except BrokenPipeError:
        redirect_to_devnull(sys.stdout)
        raise BrokenStdout from None


def _colorize(line: str) -> str:
    from rich.console import Console
    from rich.highlighter import JSONHighlighter

    console = Console(force_terminal=True, color_system="standard", soft_wrap=True)
    with console.capture() as capture:
        console.print(JSONHighlighter()(line), end="")
    return capture.get()


class OneLineFormatter(logging.Formatter):
    """Formats a log record as one line, without its traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return escape_control(f"{self.formatTime(record)} {record.levelname.lower()} {record.getMessage()}")


def log_to_stderr(level: int) -> None:
    """Print the package's log records from this level on to stderr."""
    logger = logging.getLogger("owlsocket_sync")
    logger.setLevel(level)
    # -v stands before the command or after it; given twice, a second handler would print each record twice.
    if not any(isinstance(handler.formatter, OneLineFormatter) for handler in logger.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(OneLineFormatter())
        logger.addHandler(handler)
