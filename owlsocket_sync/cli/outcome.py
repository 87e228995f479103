"""What a command ends with: one exit code, and at most one line on stderr.

Results are JSON, one line each, on stdout; everything else goes to stderr.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import click
from rich.console import Console

from .. import ResilientError, SocketConnectionError, SocketMessageError

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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
    """No connection came about; its cause says why."""


def run(command: click.Command, arguments: Sequence[str] | None) -> int:
    """Run a command, and say in one line what went wrong."""
    try:
        result = command.main(args=None if arguments is None else list(arguments), standalone_mode=False)
    except click.ClickException as error:
        hint = f" ({error.ctx.command_path} --help tells more)" if getattr(error, "ctx", None) else ""  # type: ignore[attr-defined]
        return say(f"{error.format_message()}{hint}", Exit.USAGE)
    except (KeyboardInterrupt, click.Abort):
        return say("interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads any more, not at exit either
        return Exit.OK
    except Exception as error:
        return say(describe(error), exit_code(error))
    return result if isinstance(result, int) else Exit.OK


def exit_code(error: BaseException) -> Exit:
    """The exit code that an error stands for."""
    if isinstance(error, NotConnected) and error.__cause__ is not None:
        cause = error.__cause__
        return _BY_CODE.get(getattr(cause, "code", ""), Exit.NO_CONNECTION) if not _usage(cause) else Exit.USAGE
    if isinstance(error, ResilientError):
        return Exit.REMOTE_ERROR if error.remote else _BY_CODE.get(error.code, Exit.REMOTE_ERROR)
    return Exit.USAGE if _usage(error) else Exit.NO_CONNECTION


def _usage(error: BaseException) -> bool:
    return isinstance(error, ValueError) or (
        isinstance(error, SocketMessageError) and not isinstance(error, SocketConnectionError)
    )


def describe(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, NotConnected) and error.__cause__ is not None:
        error = error.__cause__
    return str(error) or type(error).__name__


def say(line: str, code: Exit = Exit.OK) -> Exit:
    """One line on stderr, red on a terminal where it is an error."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(plain(line), style="red" if code else None, markup=False)
    return code


def put(value: Any) -> None:
    """One line of JSON on stdout."""
    line = json.dumps(value, ensure_ascii=False, default=str)
    click.echo(plain(line).encode("utf-8", "backslashreplace"))


def plain(text: str) -> str:
    """Text that a terminal may show: control characters as escapes."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
