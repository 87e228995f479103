"""The options of every command that connects, and the connection that they describe."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

import click

from .. import Backoff, ClientOptions, Connection, Heartbeat, ResilientError
from ..client import open_connection
from ..contrib.exit_codes import NotConnected, wait_open
from ..handshake_fields import check_headers
from ..urls import SECRET_KEYS
from .address import Address, Url
from .arguments import Seconds, compression_option, subprotocol_option
from .credentials import read_secret_file, read_token, warn_exposed_proxy, warn_exposed_secret
from .output import log_to_stderr
from .tls_options import client_context

TIMEOUT = 10.0
SECRET_HEADERS = SECRET_KEYS | {"cookie", "proxy-authorization", "x-api-key"}


@dataclass(frozen=True)
class ConnectOptions:
    """The URL and the options of a connection.

    Attributes:
        url: the URL, secrets included.
        timeout: seconds to connect, and then for each answer.
        token: the token, or ``None``.
        headers: the headers of the upgrade request.
        ssl_context: the context for ``wss://``; ``None`` for the default.
        proxy: the URL of a proxy; ``"env"`` for the proxy of the environment.
        compression: the compression that is offered to the server, ``"deflate"`` or ``None``.
        subprotocols: those that are offered to the server; empty for none.
    """

    # Everything that may hold a secret is kept out of the repr, which tracebacks and logs show.
    url: str = field(repr=False)
    timeout: float
    token: str | None = field(default=None, repr=False)
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    ssl_context: ssl.SSLContext | None = None
    proxy: str | None = field(default=None, repr=False)
    compression: str | None = None
    subprotocols: tuple[str, ...] = ()

    @contextmanager
    def connected(
        self, *, heartbeat: Heartbeat | None = Heartbeat(), reconnect: Backoff | None = None
    ) -> Iterator[Connection]:
        """Open a connection, and close it at the end of the block.

        Raises:
            NotConnected: the connection cannot be opened.
        """
        with self._connect(heartbeat, reconnect, wait=True) as connection:
            yield connection

    @contextmanager
    def connecting(
        self, setup: Callable[[Connection], object] | None = None, *, reconnect: Backoff | None = None
    ) -> Iterator[Connection]:
        """Start to connect; handlers that ``setup`` registers miss no message; see `wait_open`."""
        with self._connect(Heartbeat(), reconnect, wait=False, setup=setup) as connection:
            yield connection

    def client_options(
        self,
        *,
        heartbeat: Heartbeat | None = Heartbeat(),
        reconnect: Backoff | None = None,
        wait: bool = True,
        setup: Callable[[Connection], object] | None = None,
    ) -> ClientOptions:
        """Return the options of the connection.

        Raises:
            ValueError: an option is invalid.
        """
        return ClientOptions(
            url=self.url,
            token=self.token,
            headers=self.headers,
            ssl_context=self.ssl_context,
            proxy=self.proxy,
            compression=self.compression,
            subprotocols=self.subprotocols or None,
            timeout=self.timeout,
            call_timeout=self.timeout,
            heartbeat=heartbeat,
            reconnect=reconnect,
            wait=wait,
            setup=setup,
        )

    def _connect(
        self,
        heartbeat: Heartbeat | None,
        reconnect: Backoff | None,
        wait: bool,
        setup: Callable[[Connection], object] | None = None,
    ) -> Connection:
        try:
            return open_connection(
                self.client_options(heartbeat=heartbeat, reconnect=reconnect, wait=wait, setup=setup)
            )
        except (ResilientError, ValueError) as error:
            raise NotConnected(error, self.url) from error

    def wait_open(self, connection: Connection) -> Connection:
        """Wait until a connection is open, and return it.

        Raises:
            NotConnected: the connection cannot be opened.
        """
        return wait_open(connection, self.timeout, self.url)


def client_command(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the URL and the options of a command that connects; the function gets them as `ConnectOptions`."""

    @wraps(function)
    def command(url: Address, **values: Any) -> Any:
        if values.pop("verbose"):
            log_to_stderr(logging.INFO)
        return function(parse_connect_options(url, values), **values)

    # Decorators apply from the inside out: reversed, the help lists the options in the order of the table.
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
        help="To connect, and then for each answer, where the command waits for one; inf for no limit.",
    ),
    click.option("--token-env", metavar="NAME", help="The environment variable that holds the token."),
    click.option("--token-file", type=click.Path(path_type=Path), metavar="PATH", help="A file that holds the token."),
    click.option("--token", metavar="TOKEN", help="The token itself; warns, since other users can read it."),
    click.option(
        "-H",
        "--header",
        "header",
        multiple=True,
        metavar="NAME:VALUE",
        help="A header of the upgrade request, may be repeated; @FILE holds one a line.",
    ),
    click.option("--ca", type=click.Path(path_type=Path), metavar="PATH", help="Trust these authorities (PEM) only."),
    click.option("--cert", type=click.Path(path_type=Path), metavar="PATH", help="The client certificate (PEM)."),
    click.option("--key", type=click.Path(path_type=Path), metavar="PATH", help="Its key, if in another file."),
    click.option("-k", "--insecure", is_flag=True, help="Do not verify the server's certificate; warns."),
    click.option("--proxy", metavar="URL", help="http://host:port or socks5://host:port; env for the environment's."),
    compression_option("Offer the server to compress messages."),
    subprotocol_option("Offer this subprotocol to the server; may be repeated, the preferred one first."),
    click.option("-v", "--verbose", is_flag=True, help="Log what the connection does on stderr."),
)


def parse_connect_options(address: Address, values: dict[str, Any]) -> ConnectOptions:
    """Remove the options of the connection from the options of a command, and return them."""
    take = values.pop
    token = read_token(take("token"), take("token_env"), take("token_file"))
    if address.from_argv and address.holds_token:
        warn_exposed_secret(
            "a token in the URL", "put the URL into OWLSOCKET_URL, or the token into a file for --token-file"
        )
    proxy = take("proxy")
    warn_exposed_proxy(proxy)
    context = client_context(address.url, take("ca"), take("cert"), take("key"), take("insecure"))
    headers, compression = read_headers(take("header")), take("compression")
    subprotocols = take("subprotocols")
    return ConnectOptions(address.url, take("timeout"), token, headers, context, proxy, compression, subprotocols)


def read_headers(options: tuple[str, ...]) -> dict[str, str]:
    """Return the headers of ``NAME:VALUE`` options, and of ``@FILE`` options with one header a line.

    Raises:
        click.UsageError: a header is invalid; the message does not repeat its value.
    """
    headers: dict[str, str] = {}
    for option in options:
        from_argv = not option.startswith("@")
        lines = [option] if from_argv else read_secret_file(Path(option[1:]), "--header").splitlines()
        for line in filter(None, lines):
            name, value = _split_header(line)
            # The last of a name wins, so that an option can replace a header of a file before it.
            headers = {other: kept for other, kept in headers.items() if other.lower() != name.lower()}
            headers[name] = value
            if from_argv and name.lower() in SECRET_HEADERS:
                warn_exposed_secret(f"the header {name}", "put it into a file and use --header @FILE")
    return headers


def _split_header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise click.UsageError("--header: it must be NAME:VALUE, the colon is missing")
    try:
        ((name, value),) = check_headers({name.strip(): value.strip()}, "--header").items()
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    return name, value
