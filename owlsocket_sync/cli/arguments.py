"""What stands on the command line, and what click does not know of it: negative numbers, and spans of time."""

from __future__ import annotations

import re
from itertools import takewhile
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
    """A command that takes a negative number for an argument, and whose help begins with its examples as they are."""

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
