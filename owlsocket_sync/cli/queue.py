"""``owlsocket queue``: messages onto the queue of the peer, and those that it puts onto ours."""

from __future__ import annotations

import click

from .address import UrlCommand
from .arguments import PlainGroup
from .listen import told_ending
from .outcome import Exit, put, say
from .payloads import read_arguments
from .reach import Reach, client_command


@click.group(cls=PlainGroup)
def queue() -> None:
    """Put messages on the peer's queue, and take those that it put on ours.

    \b
    owlsocket queue push ws://localhost:8080 '{"order": 7}' --id o-7
    owlsocket queue pull ws://localhost:8080 --limit 1
    """


@queue.command(cls=UrlCommand)
@client_command
@click.argument("payloads", nargs=-1, required=True, metavar="PAYLOAD...")
@click.option("--id", metavar="ID", help="What the message is called; for one PAYLOAD only.")
def push(reach: Reach, payloads: tuple[str, ...], id: str | None) -> None:
    """Put each PAYLOAD on the peer's queue, in order, and wait for a sign that it read them.

    \b
    owlsocket queue push ws://localhost:8080 '{"order": 7}' --id o-7
    owlsocket queue push ws://localhost:8080 @first.json @second.json

    PAYLOAD is JSON, or text where it is no JSON; @FILE takes it from a file, - from stdin.
    """
    if id is not None and len(payloads) > 1:
        raise click.UsageError("--id is for one PAYLOAD only")
    values = read_arguments(payloads)
    with reach.connected() as connection:
        for value in values:
            connection.enqueue(value, id)
        connection.ping(reach.timeout)


@queue.command(cls=UrlCommand)
@client_command
@click.option("--limit", type=click.IntRange(min=1), help="End after so many messages.")
def pull(reach: Reach, limit: int | None) -> Exit:
    """Print each message that the peer puts on our queue, until none comes for --timeout seconds.

    \b
    owlsocket queue pull ws://localhost:8080 --limit 1
    owlsocket queue pull ws://localhost:8080 --timeout inf

    A message is {"payload": …, "id": …}. A pause after at least one is the end (exit code 0); no message at all is a
    timeout (4), a connection that ends meanwhile 3.
    """
    came = 0
    with reach.connecting() as connection:
        reach.await_open(connection)
        for message in connection.messages(timeout=reach.timeout, limit=limit):
            put({"payload": message.payload, "id": message.id})
            came += 1
        if came == limit:
            return Exit.OK
        if connection.state.value == "closed":
            return told_ending(connection)
        return Exit.OK if came else say(f"no message came within {reach.timeout:g} s", Exit.TIMEOUT)
