"""Arguments that click does not handle by itself: negative numbers, and durations."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import click

_NEGATIVE = re.compile(r"-\d[\d.eE+-]*\Z")


class Seconds(click.FloatRange):
    """A duration in seconds; ``inf`` for no limit."""

    name = "number of seconds"

    def __init__(self) -> None:
        super().__init__(min=0)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Return the number of seconds."""
        seconds: float = super().convert(value, param, ctx)
        # NaN passes the range check of FloatRange, since every comparison with it is false.
        if seconds != seconds:
            self.fail(f"{value!r} is not a valid {self.name}.", param, ctx)
        return seconds


def compression_option(help: str) -> Callable[[Any], Any]:
    """Return the decorator of a command that adds the option ``--compression``."""
    return click.option("--compression", type=click.Choice(["deflate"]), help=help)


class PlainCommand(click.Command):
    """A command whose arguments may be negative numbers."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; an unknown option is an error, a negative number is an argument."""
        # click takes every word with a dash for an option. ignore_unknown_options would let misspelled options pass as
        # arguments, so each of them is checked here first.
        # "-" is stdin, and everything after "--" an argument.
        dashed = [word for word in takewhile(lambda word: word != "--", args) if word.startswith("-") and word != "-"]
        options = [word.partition("=")[0] for word in dashed if not _NEGATIVE.match(word)]
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


def subprotocol_option(help: str) -> Callable[[Any], Any]:
    """Return the decorator of a command that adds the option ``--subprotocol``, which may be repeated."""
    return click.option("--subprotocol", "subprotocols", multiple=True, metavar="NAME", help=help)
