"""``flask owlsocket call|listen|ping``: results are JSON on stdout, one line each; the rest goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup

from ...connection import Connection
from ...errors import ConfigError, ResilientError, SocketConnectionError, SocketError
from ..outcome import INTERRUPTED, USAGE, NotConnected, describe, exit_code, read_argument, to_line
from .configuration import DEFAULT
from .services import AppState

GRACE = 1.0
NUMBERS = {"ignore_unknown_options": True}  # negative ones, which look like options

Command = Callable[..., Any]


def make_group(state: AppState, name: str) -> AppGroup:
    """The commands of one app.

    Args:
        state: what the app has of the extension.
        name: of the group.
    """
    group = AppGroup(name, help="Talk to the OwlMeans servers of this app.")

    @group.command(context_settings=NUMBERS)
    @_choosing
    @click.argument("method")
    @click.argument("arguments", nargs=-1, metavar="[ARG]...", type=click.UNPROCESSED)
    def call(service: str, timeout: float | None, method: str, arguments: tuple[str, ...]) -> None:
        """Call METHOD and print its result; an ARG is JSON, or text where it is no JSON."""
        values = [read_argument(text) for text in arguments]
        with _failing(), _connecting(state, service, timeout) as connection:
            _put(_opened(connection).call(method, *values, timeout=timeout))

    @group.command()
    @_choosing
    @click.argument("event", default="*")
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="End after so many events.")
    def listen(service: str, timeout: float | None, event: str, limit: int | None) -> None:
        """Print each event as {"event": …, "payload": …}; all events, or those of one name.

        Ends with exit code 0 after --limit events, 130 when it is interrupted, 3 when the connection ends before.
        """
        with _failing(), _connecting(state, service, timeout) as connection:
            came = 0
            with connection.events(event, limit=limit) as events:  # before it is open, so that none is missed
                _opened(connection)
                for message in events:
                    _put({"event": message.event, "payload": message.payload})
                    came += 1
            if came != limit:
                ending = connection.wait_closed()
                raise NotConnected(
                    SocketConnectionError(f"the connection ended: {ending.code} {ending.reason}".strip())
                )

    @group.command()
    @_choosing
    @click.option("-c", "--count", type=click.IntRange(1), default=1, metavar="N", help="How many (default: 1).")
    def ping(service: str, timeout: float | None, count: int) -> None:
        """Print the seconds of a round trip."""
        with _failing(), _connecting(state, service, timeout) as connection:
            for _ in range(count):
                _put({"url": connection.url, "seconds": round(_opened(connection).ping(), 6)})

    return group


def _choosing(command: Command) -> Command:
    """The options that all of them have."""
    timeout = click.option(
        "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="To connect, and then for each answer."
    )
    service = click.option("--service", default=DEFAULT, metavar="NAME", help="One of the app's named services.")
    return service(timeout(command))


@contextmanager
def _connecting(state: AppState, service: str, timeout: float | None) -> Iterator[Connection]:
    changes = {} if timeout is None else {"timeout": timeout, "call_timeout": timeout}
    with state.connecting(service, **changes) as connection:
        yield connection


def _opened(connection: Connection) -> Connection:
    """The connection, once it is open."""
    try:
        return connection.wait_open(connection.default_call_timeout + GRACE)
    except SocketError as error:
        raise NotConnected(error.__cause__ or error) from error


def _put(value: Any) -> None:
    click.echo(to_line(value))


@contextmanager
def _failing() -> Iterator[None]:
    """End the program with the code that what goes wrong stands for, and a line on stderr."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # whoever read our stdout has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ResilientError, NotConnected, ValueError) as error:
        click.echo(describe(error), err=True)
        own = isinstance(error, ConfigError) and not error.remote
        sys.exit(USAGE if own else exit_code(error))
