"""The URL of a command: the first argument where it is a URL, otherwise ``OWLSOCKET_URL``."""

from __future__ import annotations

import os
import re
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import click

from ..urls import names_secret, parse, redact
from .arguments import PlainCommand

VARIABLE = "OWLSOCKET_URL"
PLACEHOLDER = f"${VARIABLE}"
"""Inserted by `UrlCommand` for an omitted URL, so that an error can tell the variable from an argument."""

# With a wrong scheme, or without slashes, too: the error then tells how to write it, instead of calling such a method.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|wss?:|https?:")
# A host with a port cannot be the name of a method or an event; a bare host, such as localhost, can.
_HOST_AND_PORT = re.compile(r"(?:[\w.-]+|\[[0-9A-Fa-f:.]+\]):\d{1,5}(?:[/?].*)?\Z", re.ASCII)
_HOST = re.compile(r"(?:localhost|[\w-]+(?:\.[\w-]+)+)(?:[/?].*)?\Z", re.ASCII)


class Address(NamedTuple):
    """A valid URL, and where it came from.

    Attributes:
        url: the whole URL, secrets included.
        from_argv: whether it was on the command line, where other users of the machine can read it.
    """

    url: str
    from_argv: bool

    @property
    def holds_token(self) -> bool:
        """Return whether the query holds a token."""
        return names_secret(self.url)


class Url(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.3
    """A ``ws://`` or ``wss://`` URL."""

    name = "URL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Address:
        """Return the address.

        Raises:
            click.UsageError: the URL is invalid.
        """
        # click requires that a converted value is accepted again.
        if isinstance(value, Address):
            return value
        from_argv = value != PLACEHOLDER
        url = value if from_argv else os.environ.get(VARIABLE, "")
        try:
            parse(url)
        except ValueError as error:
            prefix = "" if from_argv else f"{VARIABLE}: "
            raise click.UsageError(f"{prefix}{error}{_suggestion(url, from_argv)}", ctx) from None
        return Address(url, from_argv)


class UrlCommand(PlainCommand):
    """A command whose first argument, URL, may be omitted where ``OWLSOCKET_URL`` is set.

    Where the variable is set, the first argument is the URL if it looks like one (``wss://…``), or if the command has
    no other argument. Where it is not set, the first argument is the URL.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Insert an omitted URL, and parse."""
        if os.environ.get(VARIABLE) and not self._has_url(ctx, args):
            args = [PLACEHOLDER, *args]
        return super().parse_args(ctx, args)

    def _has_url(self, ctx: click.Context, args: list[str]) -> bool:
        # A trial parse finds the first argument among options and their values.
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        try:
            first = parser.parse_args(args=list(args))[0].get("url")
        except click.UsageError:
            return True  # the real parse, which follows, reports the mistake
        if not isinstance(first, str):
            return False
        has_other = any(isinstance(param, click.Argument) and param.name != "url" for param in self.params)
        return not has_other or bool(_URL.match(first) or _HOST_AND_PORT.match(first))


def _suggestion(url: str, from_argv: bool) -> str:
    """Return the URL that was probably meant, as a hint."""
    redacted = redact(url)
    # With a secret in it, the suggestion could not be copied, and must not be complete.
    if "***" in redacted:
        return ""
    if found := re.match(r"http(s?):/*(.+)", redacted):
        return f" (write ws{found[1]}://{found[2]})"
    if (found := re.match(r"(wss?):/*([^/].*)", redacted)) and not urlsplit(url).hostname:
        return f" (write {found[1]}://{found[2]})"
    if _HOST_AND_PORT.match(url) or _HOST.match(url):
        return f" (write ws://{redacted}, or wss://{redacted} for TLS)"
    if from_argv and "://" not in url:
        return f" (the URL comes first; it may be omitted where {VARIABLE} is set)"
    return ""
