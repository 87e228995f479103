"""``flask owlsocket call|listen|ping``: results are JSON on stdout, one line each; the rest goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import click
from flask.cli import AppGroup

from ...connection import Connection
from ...errors import ConfigError, ResilientError, SocketConnectionError
from ..outcome import INTERRUPTED, USAGE, NotConnected, describe, exit_code, read_argument, to_line

Connecting = Callable[[], AbstractContextManager[Connection]]


def make_group(connecting: Connecting, name: str) -> AppGroup:
    """The commands of one extension.

    Args:
        connecting: a connection on its way, for one command.
        name: of the group.
    """
    group = AppGroup(name, help="Talk to the OwlMeans server of this app.")

    @group.command()
    @click.argument("method")
    @click.argument("arguments", nargs=-1, metavar="[ARG]...")
    @click.option("--timeout", type=float, metavar="SECONDS", help="For the answer.")
    def call(method: str, arguments: tuple[str, ...], timeout: float | None) -> None:
        """Call METHOD and print its result; an ARG is JSON, or text where it is no JSON."""
        values = [read_argument(text) for text in arguments]
        with _failing(), _connected(connecting) as connection:
            _put(connection.call(method, *values, timeout=timeout))

    @group.command()
    @click.argument("event", default="*")
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many events.")
    def listen(event: str, limit: int | None) -> None:
        """Print each event as {"event": …, "payload": …}; all events, or those of one name."""
        with _failing(), connecting() as connection, connection.events(event, limit=limit) as events:
            _wait_open(connection)
            came = 0
            for message in events:
                _put({"event": message.event, "payload": message.payload})
                came += 1
            if came != limit:
                ending = connection.wait_closed()
                raise NotConnected(
                    SocketConnectionError(f"the connection ended: {ending.code} {ending.reason}".strip())
                )

    @group.command()
    @click.option("-c", "--count", type=click.IntRange(1), default=1, metavar="N", help="How many (default: 1).")
    def ping(count: int) -> None:
        """Print the seconds of a round trip."""
        with _failing(), _connected(connecting) as connection:
            for _ in range(count):
                _put({"url": connection.url, "seconds": round(connection.ping(), 6)})

    return group


@contextmanager
def _connected(connecting: Connecting) -> Iterator[Connection]:
    with connecting() as connection:
        _wait_open(connection)
        yield connection


def _wait_open(connection: Connection) -> None:
    try:
        connection.wait_open()
    except SocketConnectionError as error:
        raise NotConnected(error.__cause__ or error) from error


def _put(value: Any) -> None:
    click.echo(to_line(value))
    sys.stdout.flush()


@contextmanager
def _failing() -> Iterator[None]:
    """End the program with the code that what goes wrong stands for, and a line on stderr."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except (ResilientError, NotConnected, ValueError) as error:
        click.echo(describe(error), err=True)
        sys.exit(USAGE if isinstance(error, ConfigError) else exit_code(error))
