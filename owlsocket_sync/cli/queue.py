"""``owlsocket queue``: messages on the queues of a connection, and in those of a store."""

from __future__ import annotations

import click

from ..contrib.exit_codes import ExitCode, NotConnected
from .address import UrlCommand
from .arguments import PlainGroup
from .connect_options import ConnectOptions, client_command
from .listen import report_close
from .output import print_error, print_json
from .payloads import read_arguments
from .stores import dead, is_store, list_queues, peek, pull_from_store, purge, push_to_store, requeue


class QueueGroup(PlainGroup):
    """The group ``queue``, in which ``push`` and ``pull`` are other commands for a store than for a connection."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command for these arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        of_store = {"push": push_to_store, "pull": pull_from_store}.get(name or "")
        return name, of_store if of_store is not None and _names_store(of_store, ctx, rest) else command, rest


def _names_store(command: click.Command, ctx: click.Context, args: list[str]) -> bool:
    """Return whether the first argument, among options and their values, is a store."""
    parser = command.make_parser(ctx)
    parser.ignore_unknown_options = True
    try:
        first = parser.parse_args(args=list(args))[0].get("store")
    except click.UsageError:
        return False  # the command itself reports the mistake
    return isinstance(first, str) and is_store(first)


class QueueCommand(UrlCommand):
    """A command on the queues of a connection, whose first argument may have been meant for a store."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse; say how a store is named where the argument is not a URL."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            beginning, _, rest = error.message.partition(": ")
            if beginning == "url must start with ws:// or wss://" and "://" not in rest:
                hint = "; or name a store, whose name ends with .db or .sqlite"
                raise click.UsageError(error.message + hint, ctx) from None
            raise


@click.group(cls=QueueGroup)
def queue() -> None:
    """Put messages on a queue, and take them: of the peer of a connection, or of a store.

    \b
    owlsocket queue push ws://localhost:8080 '{"order": 7}' --id o-7
    owlsocket queue pull ws://localhost:8080 --limit 1
    owlsocket queue push queue.db orders '{"order": 7}' --id o-7
    owlsocket queue pull queue.db orders --limit 1

    push and pull take an SQLite file, a name that ends with .db or .sqlite, or a redis:// URL for a store, and all else
    for the URL of a server. The other commands are for stores.
    """


for _command in (list_queues, peek, dead, requeue, purge):
    queue.add_command(_command)


@queue.command(cls=QueueCommand)
@client_command
@click.argument("payloads", nargs=-1, required=True, metavar="PAYLOAD...")
@click.option("--id", metavar="ID", help="The id of the message; for one PAYLOAD only.")
def push(options: ConnectOptions, payloads: tuple[str, ...], id: str | None) -> None:
    """Put each PAYLOAD on the queue of the peer, in order, and wait until the peer has received them.

    \b
    owlsocket queue push ws://localhost:8080 '{"order": 7}' --id o-7
    owlsocket queue push ws://localhost:8080 @first.json @second.json

    PAYLOAD is JSON, or text if it is not valid JSON; @FILE reads it from a file, - from stdin. With the path of a store
    in place of the URL, the name of a queue follows: owlsocket queue push queue.db orders --help.
    """
    if id is not None and len(payloads) > 1:
        raise click.UsageError("--id is for one PAYLOAD only")
    values = read_arguments(payloads)
    with options.connected() as connection:
        for value in values:
            connection.enqueue(value, id)
        # The pong proves that the messages before it have arrived: frames keep their order.
        connection.ping(options.timeout)


@queue.command(cls=QueueCommand)
@client_command
@click.option("--limit", type=click.IntRange(min=1), help="End after this many messages.")
def pull(options: ConnectOptions, limit: int | None) -> ExitCode:
    """Print each message that the peer puts on our queue, until none arrives for --timeout seconds.

    \b
    owlsocket queue pull ws://localhost:8080 --limit 1
    owlsocket queue pull ws://localhost:8080 --timeout inf

    A message is {"payload": …, "id": …}. A pause after at least one message ends the command with exit code 0; no
    message at all is a timeout (4), a connection that is closed before is 3. With the path of a store in place of the
    URL, the name of a queue follows: owlsocket queue pull queue.db orders --help.
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
