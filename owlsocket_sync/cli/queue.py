"""``owlsocket queue``: put messages on the queue of the peer, and take messages from our own."""

from __future__ import annotations

import click

from ..contrib.exit_codes import ExitCode, NotConnected
from .address import UrlCommand
from .arguments import PlainGroup
from .connect_options import ConnectOptions, client_command
from .listen import report_close
from .output import print_error, print_json
from .payloads import read_arguments


@click.group(cls=PlainGroup)
def queue() -> None:
    """Put messages on the queue of the peer, and take the messages that the peer put on ours.

    \b
    owlsocket queue push ws://localhost:8080 '{"order": 7}' --id o-7
    owlsocket queue pull ws://localhost:8080 --limit 1
    """


@queue.command(cls=UrlCommand)
@client_command
@click.argument("payloads", nargs=-1, required=True, metavar="PAYLOAD...")
@click.option("--id", metavar="ID", help="The id of the message; for one PAYLOAD only.")
def push(options: ConnectOptions, payloads: tuple[str, ...], id: str | None) -> None:
    """Put each PAYLOAD on the queue of the peer, in order, and wait until the peer has received them.

    \b
    owlsocket queue push ws://localhost:8080 '{"order": 7}' --id o-7
    owlsocket queue push ws://localhost:8080 @first.json @second.json

    PAYLOAD is JSON, or text if it is not valid JSON; @FILE reads it from a file, - from stdin.
    """
    if id is not None and len(payloads) > 1:
        raise click.UsageError("--id is for one PAYLOAD only")
    values = read_arguments(payloads)
    with options.connected() as connection:
        for value in values:
            connection.enqueue(value, id)
        # The pong proves that the messages before it have arrived: frames keep their order.
        connection.ping(options.timeout)


@queue.command(cls=UrlCommand)
@client_command
@click.option("--limit", type=click.IntRange(min=1), help="End after this many messages.")
def pull(options: ConnectOptions, limit: int | None) -> ExitCode:
    """Print each message that the peer puts on our queue, until none arrives for --timeout seconds.

    \b
    owlsocket queue pull ws://localhost:8080 --limit 1
    owlsocket queue pull ws://localhost:8080 --timeout inf

    A message is {"payload": …, "id": …}. A pause after at least one message ends the command with exit code 0; no
    message at all is a timeout (4), a connection that is closed before is 3.
    """
    count = 0
    with options.connecting() as connection:
        # Without a subscription first, as in `listen`: the queue keeps what arrives before the loop.
        try:
            options.wait_open(connection)
        except NotConnected:
            # A server may have sent its messages and closed before this thread came to wait.
            if not connection.stats.messages_in:
                raise
        for message in connection.messages(timeout=options.timeout, limit=limit):
            print_json({"payload": message.payload, "id": message.id})
            count += 1
        if count == limit:
            return ExitCode.OK
        # The iterator ends for both: a pause, and a connection that was closed.
        if connection.state.value == "closed":
            return report_close(connection)
        if count:
            return ExitCode.OK
        return print_error(f"no message received within {options.timeout:g} s", ExitCode.TIMEOUT)
