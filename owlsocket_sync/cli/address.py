"""Which server is meant: the first argument where it is a URL, ``OWLSOCKET_URL`` else; and what a slip meant to say."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click

from ..urls import parse, redact, secrets_of
from .arguments import PlainCommand

VARIABLE = "OWLSOCKET_URL"
PLACEHOLDER = f"${VARIABLE}"

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|wss?:|https?:")
_PLACE = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}(?:[/?].*)?\Z", re.ASCII)
_BARE_PLACE = re.compile(r"(?:localhost|[\w-]+(?:\.[\w-]+)+)(?:[/?].*)?\Z", re.ASCII)


class Address(NamedTuple):
    """A URL that can be connected to.

    Attributes:
        url: all of it, secrets included.
        typed: whether it stood on the command line, where other users of the machine can read it.
    """

    url: str
    typed: bool

    @property
    def holds_token(self) -> bool:
        """Whether its query says who speaks."""
        return bool(secrets_of(self.url))


class Url(click.ParamType):  # type: ignore[type-arg]  # before click 8.3 it takes none
    """A ``ws://`` or ``wss://`` URL."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """The address, which can be read."""
        if isinstance(value, Address):
            return value
        typed = value != PLACEHOLDER
        url = value if typed else os.environ.get(VARIABLE, "")
        try:
            parse(url)
        except ValueError as error:
            where = "" if typed else f"{VARIABLE}: "
            raise click.UsageError(f"{where}{error}{_advice(url, typed)}", ctx) from None
        return Address(url, typed)


class UrlCommand(PlainCommand):
    """A command whose first argument, URL, may be left out where ``OWLSOCKET_URL`` is set.

    Where it is set, the first argument is the URL if it looks like one (``wss://…``), or if there is no other argument
    that it could be; else it belongs to what follows. Where it is not set, the first argument is the URL.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put in a URL that was left out."""
        if os.environ.get(VARIABLE) and not self._has_url(ctx, args):
            args = [PLACEHOLDER, *args]
        return super().parse_args(ctx, args)

    def _has_url(self, ctx: click.Context, args: list[str]) -> bool:
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        try:
            first = parser.parse_args(args=list(args))[0].get("url")
        except click.UsageError:
            return True  # what is wrong is told by the parser proper
        if not isinstance(first, str):
            return False
        takes_more = any(isinstance(one, click.Argument) and one.name != "url" for one in self.params)
        return not takes_more or bool(_URL.match(first) or _PLACE.match(first))


def _advice(url: str, typed: bool) -> str:
    """What to write instead, where that can be guessed without showing a secret."""
    shown = redact(url)
    if "***" in shown:
        return ""
    if found := re.match(r"http(s?):/*(.+)", shown):
        return f" (write ws{found[1]}://{found[2]})"
    if (found := re.match(r"(wss?):/*([^/].*)", shown)) and not urlsplit(url).hostname:
        return f" (write {found[1]}://{found[2]})"
    if _PLACE.match(url) or _BARE_PLACE.match(url):
        return f" (write ws://{shown}, or wss://{shown} where it is encrypted)"
    if typed and "://" not in url:
        return f" (the URL comes first; it may be left out where {VARIABLE} is set)"
    return ""
