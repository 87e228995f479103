"""``owlsocket listen``: events, one line each, as they come."""

from __future__ import annotations

import click

from .. import Backoff, Connection, ConnectionState, StateChange
from .address import UrlCommand
from .outcome import Exit, put, say
from .reach import Reach, client_command

GOODBYE_SECONDS = 5.0


@click.command(cls=UrlCommand)
@client_command
@click.argument("event", default="*")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many events.")
@click.option("--reconnect", is_flag=True, help="Keep connecting; what is sent while no link is up is missed.")
def listen(reach: Reach, event: str, limit: int | None, reconnect: bool) -> Exit:
    """Print each EVENT (default: all) as {"event": …, "payload": …}.

    \b
    owlsocket listen ws://localhost:8080
    owlsocket listen ws://localhost:8080 tick --limit 3
    owlsocket listen ws://localhost:8080 --reconnect >> events.jsonl

    Ends with exit code 0 after --limit events, 130 when it is interrupted, 3 when the connection ends before.
    """
    came = 0
    with reach.connecting(reconnect=Backoff() if reconnect else None) as connection:
        with connection.events(event, limit=limit) as events:
            if reconnect:
                connection.on_state(_tell)
            else:
                reach.await_open(connection)
            for message in events:
                put({"event": message.event, "payload": message.payload})
                came += 1
        return Exit.OK if came == limit else told_ending(connection)


def _tell(change: StateChange) -> None:
    """Say that the link is lost, or back."""
    if change.state in (ConnectionState.OPEN, ConnectionState.RECONNECTING):
        say(f"{change.state.value} {change.reason}".strip())


def told_ending(connection: Connection) -> Exit:
    """Tell how a connection ended before its time."""
    ending = connection.wait_closed(GOODBYE_SECONDS)
    return say(f"the connection ended: {ending.code} {ending.reason}".strip(), Exit.NO_CONNECTION)
