"""``owlsocket listen``: print events, one line each, as they arrive."""

from __future__ import annotations

from typing import Any

import click

from .. import Backoff, Connection, ConnectionState, StateChange
from ..contrib.exit_codes import ExitCode, close_text
from .address import UrlCommand
from .connect_options import ConnectOptions, client_command
from .output import print_error, print_json, print_status

CLOSE_TIMEOUT = 5.0


@click.command(cls=UrlCommand)
@client_command
@click.argument("event", default="*")
@click.option("--limit", type=click.IntRange(min=1), help="End after this many events.")
@click.option(
    "--reconnect", is_flag=True, help="Reconnect when the connection is lost; events sent meanwhile are lost."
)
def listen(options: ConnectOptions, event: str, limit: int | None, reconnect: bool) -> ExitCode:
    """Print each EVENT (default: all) as {"event": …, "payload": …}.

    \b
    owlsocket listen ws://localhost:8080
    owlsocket listen ws://localhost:8080 tick --limit 3
    owlsocket listen ws://localhost:8080 --reconnect >> events.jsonl

    It waits for events without a limit of time; --timeout is for connecting alone. The exit code is 0 after --limit
    events, 130 after Ctrl-C, 3 if the connection ends before.
    """
    count = 0
    streams: list[Any] = []

    # Before anything connects: a server may send events right after the handshake.
    def subscribe(connection: Connection) -> None:
        streams.append(connection.events(event, limit=limit))
        if reconnect:
            connection.on_state(_print_state)

    with options.connecting(subscribe, reconnect=Backoff() if reconnect else None) as connection:
        with streams[0] as events:
            if not reconnect:
                options.wait_open(connection)
            for message in events:
                print_json({"event": message.event, "payload": message.payload})
                count += 1
        return ExitCode.OK if count == limit else report_close(connection)


def _print_state(change: StateChange) -> None:
    if change.state in (ConnectionState.OPEN, ConnectionState.RECONNECTING):
        print_status(f"{change.state.value} {change.reason}".strip())


def report_close(connection: Connection) -> ExitCode:
    """Print the close code and the reason of a connection that ended, and return the exit code."""
    close = connection.wait_closed(CLOSE_TIMEOUT)
    return print_error(close_text(close), ExitCode.NO_CONNECTION)
