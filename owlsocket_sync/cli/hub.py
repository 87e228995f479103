"""``owlsocket hub``: who is in a room, which servers there are, and events for all clients, from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .arguments import PlainGroup
from .output import print_json, print_status
from .payloads import read_argument

if TYPE_CHECKING:
    from ..hub import Hub

EMPTY = "the room has no members"


@click.group(cls=PlainGroup)
def hub() -> None:
    """Look into a hub of servers, and send events to its clients.

    \b
    owlsocket hub servers hub.db
    owlsocket hub members redis://localhost:6379/0 lobby
    owlsocket hub publish hub.db news '{"n": 1}' --room lobby

    URL is the path of the file of a hub, sqlite:///hub.db, or the URL of a Redis: what the servers were given.
    """


def opened(url: str) -> Hub:
    """Return the hub that an argument names.

    Raises:
        click.UsageError: there is none.
    """
    from ..hub.urls import open_hub, parse_hub

    try:
        place = parse_hub(url)
        # A path that is mistaken must not become an empty hub.
        if not place.is_redis and not Path(place.where).is_file():
            raise click.UsageError(f"{place.where}: there is no such hub")
        return open_hub(url)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


@hub.command()
@click.argument("url")
@click.argument("room")
def members(url: str, room: str) -> None:
    """Print the members of ROOM, on all servers.

    \b
    owlsocket hub members hub.db lobby

    A member is {"id": …, "user": …, "server": …, "info": …}. Of an empty room, stderr says that it is.
    """
    with opened(url) as found:
        members = found.members(room)
        for member in members:
            print_json({"id": member.id, "user": member.user, "server": member.server, "info": member.info})
    if not members:
        print_status(EMPTY)


@hub.command()
@click.argument("url")
@click.argument("event")
@click.argument("payload", default="null")
@click.option("--room", metavar="ROOM", help="Send it to the members of this room, instead of all clients.")
def publish(url: str, event: str, payload: str, room: str | None) -> None:
    """Send EVENT with PAYLOAD to the clients of all servers.

    \b
    owlsocket hub publish hub.db news '{"n": 1}'
    owlsocket hub publish hub.db news @payload.json --room lobby

    PAYLOAD is JSON, or text if it is not valid JSON; @FILE reads it from a file, - from stdin.

    Where there is no server, or no member of ROOM, stderr says so; the exit code is 0.
    """
    value = read_argument(payload)
    with opened(url) as found:
        found.publish(event, value, room=room)
        if not found.servers():
            print_status("no server uses this hub")
        elif room is not None and not found.count(room):
            print_status(EMPTY)


@hub.command()
@click.argument("url")
def servers(url: str) -> None:
    """Print the servers of the hub, each as NAME@NODE: a node is one process.

    \b
    owlsocket hub servers hub.db
    """
    with opened(url) as found:
        for server in found.servers():
            print_json({"server": server})
