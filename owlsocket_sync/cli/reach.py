"""The way to a server, as the options tell it, and the connection that comes of it."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from .. import Connection, Heartbeat, ResilientError, connect
from ..urls import SECRET_KEYS, check_headers
from .address import Address, Url
from .arguments import Seconds
from .credentials import read_secret_file, read_token, warn_of_argument
from .encryption import client_context
from .outcome import NotConnected, log_to_stderr

TIMEOUT = 10.0
GRACE = 1.0
SECRET_HEADERS = SECRET_KEYS | {"cookie", "proxy-authorization", "x-api-key"}


@dataclass(frozen=True)
class Reach:
    """How to get to a server.

    Attributes:
        url: where it is, secrets included.
        timeout: seconds to connect, and then for each answer.
        token: who speaks.
        headers: sent with the upgrade.
        ssl_context: for ``wss://``; ``None`` for the default.
        proxy: on the way; ``"env"`` for the one of the environment.
    """

    url: str = field(repr=False)
    timeout: float
    token: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    ssl_context: ssl.SSLContext | None = None
    proxy: str | None = field(default=None, repr=False)

    @contextmanager
    def connected(self, **options: Any) -> Iterator[Connection]:
        """A connection that is open; ``options`` are those of `owlsocket_sync.connect`."""
        with self._connect(wait=True, **options) as connection:
            yield connection

    @contextmanager
    def connecting(self, **options: Any) -> Iterator[Connection]:
        """A connection on its way, for what must be there before the first message; see `await_open`."""
        with self._connect(wait=False, **options) as connection:
            yield connection

    def _connect(self, *, wait: bool, **options: Any) -> Connection:
        try:
            return connect(
                self.url,
                **{
                    "token": self.token,
                    "headers": self.headers,
                    "ssl_context": self.ssl_context,
                    "proxy": self.proxy,
                    "timeout": self.timeout,
                    "call_timeout": self.timeout,
                    "heartbeat": Heartbeat(),
                    "reconnect": None,
                    "wait": wait,
                    **options,
                },
            )
        except (ResilientError, ValueError) as error:
            raise NotConnected(error, self.url) from error

    def await_open(self, connection: Connection) -> Connection:
        """The connection, once it is open."""
        try:
            return connection.wait_open(self.timeout + GRACE)
        except ResilientError as error:
            raise NotConnected(error.__cause__ or error, self.url) from error


def client_command(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that connects; the function gets the `Reach` that they make."""

    @wraps(function)
    def command(url: Address, **values: Any) -> Any:
        if values.pop("verbose"):
            log_to_stderr(logging.INFO)
        return function(read_reach(url, values), **values)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command


_OPTIONS = (
    click.argument("url", type=Url()),
    click.option(
        "--timeout",
        type=Seconds(),
        metavar="SECONDS",
        default=TIMEOUT,
        show_default=True,
        help="To connect, and then for each answer; inf for no limit.",
    ),
    click.option("--token-env", metavar="NAME", help="The environment variable that holds the token."),
    click.option("--token-file", type=click.Path(path_type=Path), metavar="PATH", help="A file that holds the token."),
    click.option("--token", metavar="TOKEN", help="The token itself; others can read it, so this warns."),
    click.option(
        "-H",
        "--header",
        "header",
        multiple=True,
        metavar="NAME:VALUE",
        help="Sent with the upgrade, may be repeated; @FILE holds one a line.",
    ),
    click.option("--ca", type=click.Path(path_type=Path), metavar="PATH", help="Trust these authorities (PEM) only."),
    click.option("--cert", type=click.Path(path_type=Path), metavar="PATH", help="Our certificate (PEM)."),
    click.option("--key", type=click.Path(path_type=Path), metavar="PATH", help="Its key, where that is elsewhere."),
    click.option("-k", "--insecure", is_flag=True, help="Do not check the server's certificate; warns."),
    click.option("--proxy", metavar="URL", help="An HTTP proxy, http://host:port; env for the environment's."),
    click.option("-v", "--verbose", is_flag=True, help="Tell on stderr what the connection does."),
)


def read_reach(address: Address, values: dict[str, Any]) -> Reach:
    """Take the options of the way out of those of a command."""
    take = values.pop
    token = read_token(take("token"), take("token_env"), take("token_file"))
    if address.typed and address.holds_token:
        warn_of_argument(
            "a token in the URL", "put the URL into OWLSOCKET_URL, or the token where --token-file finds it"
        )
    proxy = take("proxy")
    if proxy is not None and urlsplit(proxy).password:
        warn_of_argument("the password of the proxy", "set https_proxy or http_proxy, and use --proxy env")
    context = client_context(address.url, take("ca"), take("cert"), take("key"), take("insecure"))
    return Reach(address.url, take("timeout"), token, read_headers(take("header")), context, proxy)


def read_headers(options: tuple[str, ...]) -> dict[str, str]:
    """Headers from ``NAME:VALUE``, or ``@FILE`` with one a line; what is secret in them is not repeated in an error."""
    headers = {}
    for option in options:
        typed = not option.startswith("@")
        lines = [option] if typed else read_secret_file(Path(option[1:]), "--header").splitlines()
        for line in filter(None, lines):
            name, value = _split_header(line)
            headers[name] = value
            if typed and name.lower() in SECRET_HEADERS:
                warn_of_argument(f"the header {name}", "put it into a file and use --header @FILE")
    return headers


def _split_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise click.UsageError("--header: it is no NAME:VALUE, the colon is missing")
    try:
        ((name, value),) = check_headers({name.strip(): value.strip()}, "--header").items()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return name, value
