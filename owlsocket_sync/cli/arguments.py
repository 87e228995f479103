"""What stands on the command line: JSON, negative numbers, seconds, and where a token is."""

from __future__ import annotations

import json
import os
import re
from itertools import takewhile
from math import isinf
from pathlib import Path
from typing import Any

import click

_NEGATIVE = re.compile(r"-\d[\d.eE+-]*\Z")


class Seconds(click.FloatRange):
    """A span of time; ``inf`` for no limit."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, which is one."""
        seconds: float = super().convert(value, param, ctx)
        if seconds != seconds:
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return seconds


class PlainCommand(click.Command):
    """A command that takes a negative number for an argument, not for an option."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Let click pass over what looks like an option, once it is sure that only numbers do."""
        dashed = [one for one in takewhile(lambda one: one != "--", args) if one.startswith("-") and one != "-"]
        options = [one.partition("=")[0] for one in dashed if not _NEGATIVE.match(one)]
        if len(options) < len(dashed):
            known = {name for option in self.get_params(ctx) for name in option.opts}
            for name in options:
                if name not in known:
                    raise click.NoSuchOption(name, ctx=ctx)
            ctx.ignore_unknown_options = True
        return super().parse_args(ctx, args)


class PlainGroup(click.Group):
    """A group of such commands."""

    command_class = PlainCommand


def read_argument(text: str) -> Any:
    """An argument as JSON, or as text where it is no JSON.

    Raises:
        click.UsageError: it is JSON that cannot travel as it is.
    """
    try:
        return json.loads(text, parse_float=_read_float, parse_constant=_no_json)
    except ValueError:
        return text
    except RecursionError:
        raise click.UsageError("an argument is nested too deep") from None


def _read_float(text: str) -> float:
    number = float(text)
    if isinf(number):
        raise click.UsageError(f"the number {text} is too large")
    return number


def _no_json(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


def read_secret(variable: str | None, file: Path | None, name: str) -> str | None:
    """A token or key from where the options say it is; it is never an argument, which other users could see.

    What the options hold is not repeated in an error: it could be the token itself, put there by mistake.
    """
    if variable and file:
        raise click.UsageError(f"--{name}-env and --{name}-file exclude each other")
    if variable:
        secret = os.environ.get(variable, "").strip()
        if not secret:
            raise click.UsageError(f"--{name}-env: no environment variable of this name holds anything")
        return secret
    if file:
        return _read_file(file, f"--{name}-file")
    return None


def _read_file(file: Path, option: str) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise click.UsageError(f"{option}: {error.strerror}") from None
    except ValueError:
        raise click.UsageError(f"{option}: it holds no text") from None
    if not secret:
        raise click.UsageError(f"{option}: it is empty")
    return secret
