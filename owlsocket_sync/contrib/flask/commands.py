"""``flask owlsocket call|listen|ping``: results are JSON on stdout, one line each; the rest goes to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask.cli import AppGroup

from ...connection import Connection
from ...errors import ConfigError, ResilientError, SocketConnectionError
from ...protocol.events import EventStream
from ..exit_codes import (
    ExitCode,
    NotConnected,
    close_text,
    describe,
    exit_code,
    parse_argument,
    redirect_to_devnull,
    to_json_line,
    wait_open,
)
from .configuration import DEFAULT
from .services import AppState

NEGATIVE_NUMBERS = {"ignore_unknown_options": True}  # click takes -1 for an option otherwise

Command = Callable[..., Any]


def make_group(state: AppState, name: str) -> AppGroup:
    """Return the command group of one app.

    Args:
        state: state of the extension in the app.
        name: name of the group.
    """
    group = AppGroup(name, help="Talk to the OwlMeans servers of this app.")

    @group.command(context_settings=NEGATIVE_NUMBERS)
    @_service_options
    @click.argument("method")
    @click.argument("arguments", nargs=-1, metavar="[ARG]...", type=click.UNPROCESSED)
    def call(service: str, timeout: float | None, method: str, arguments: tuple[str, ...]) -> None:
        """Call METHOD and print its result; an ARG is JSON, or plain text if it does not parse as JSON."""
        values = [parse_argument(text) for text in arguments]
        with _exit_with_code(), _connected(state, service, timeout) as connection:
            _print_json(_wait_open(connection).call(method, *values, timeout=timeout))

    @group.command()
    @_service_options
    @click.argument("event", default="*")
    @click.option("--limit", type=click.IntRange(1), metavar="N", help="Exit after N events.")
    def listen(service: str, timeout: float | None, event: str, limit: int | None) -> None:
        """Print each event as {"event": …, "payload": …}; all events, or the events of one name.

        Exit codes: 0 after --limit events, 3 if the connection ends before, 130 if interrupted.
        """
        streams: list[EventStream] = []

        # Before anything connects: the server may send events at once.
        def subscribe(connection: Connection) -> None:
            streams.append(connection.events(event, limit=limit))

        with _exit_with_code(), _connected(state, service, timeout, setup=subscribe) as connection:
            _print_events(connection, streams[0], limit)

    @group.command()
    @_service_options
    @click.option("-c", "--count", type=click.IntRange(1), default=1, metavar="N", help="Number of pings (default: 1).")
    def ping(service: str, timeout: float | None, count: int) -> None:
        """Print the round-trip time in seconds."""
        with _exit_with_code(), _connected(state, service, timeout) as connection:
            for _ in range(count):
                _print_json({"url": connection.url, "seconds": round(_wait_open(connection).ping(), 6)})

    return group


def _print_events(connection: Connection, events: EventStream, limit: int | None) -> None:
    received = 0
    with events:
        _wait_open(connection)
        for message in events:
            _print_json({"event": message.event, "payload": message.payload})
            received += 1
    if received != limit:
        close_info = connection.wait_closed()
        raise NotConnected(SocketConnectionError(close_text(close_info)))


def _service_options(command: Command) -> Command:
    """Add the options that all commands share."""
    timeout = click.option(
        "--timeout", type=click.FloatRange(0), metavar="SECONDS", help="Timeout to connect, and for each answer."
    )
    service = click.option("--service", default=DEFAULT, metavar="NAME", help="A service of the app.")
    return service(timeout(command))


@contextmanager
def _connected(state: AppState, service: str, timeout: float | None, **changes: Any) -> Iterator[Connection]:
    # One limit for both: a command that may wait for 2 s to connect may wait for 2 s for its answer.
    changes |= {} if timeout is None else {"timeout": timeout, "call_timeout": timeout}
    with state.temporary_connection(service, **changes) as connection:
        yield connection


def _wait_open(connection: Connection) -> Connection:
    """Return the connection once it is open."""
    return wait_open(connection, connection.default_call_timeout)


def _print_json(value: Any) -> None:
    click.echo(to_json_line(value))


@contextmanager
def _exit_with_code() -> Iterator[None]:
    """Exit with the code of an error, and print the error on stderr."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        redirect_to_devnull(sys.stdout)
    except (ResilientError, NotConnected, ValueError) as error:
        click.echo(describe(error), err=True)
        # A ConfigError of the peer is the peer's problem, and an answer with an error like any other.
        is_local_config = isinstance(error, ConfigError) and not error.remote
        sys.exit(ExitCode.USAGE if is_local_config else exit_code(error))
