"""``owlsocket call``, ``notify`` and ``request``: send one message, and print the answer."""

from __future__ import annotations

import click

from .address import UrlCommand
from .connect_options import ConnectOptions, client_command
from .output import print_json, print_responses
from .payloads import read_argument, read_arguments


@click.command(cls=UrlCommand)
@client_command
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
def call(options: ConnectOptions, method: str, arguments: tuple[str, ...]) -> None:
    """Call METHOD and print its result.

    \b
    owlsocket call ws://localhost:8080 add 2 3
    owlsocket call wss://api.example.com/ws getUser '{"id": 7}' --token-env TOKEN
    owlsocket call ws://localhost:8080 import @orders.json
    jq .order all.json | owlsocket call ws://localhost:8080 order -

    An ARG is JSON, or text if it is not valid JSON; @FILE reads it from a file, - from stdin.
    """
    # Before connecting: a mistake in an argument must not cost a connection.
    values = read_arguments(arguments)
    with options.connected() as connection:
        print_json(connection.call(method, *values))


@click.command(cls=UrlCommand)
@client_command
@click.argument("event")
@click.argument("payload", default="null")
def notify(options: ConnectOptions, event: str, payload: str) -> None:
    """Send EVENT, and wait until the peer has received it.

    \b
    owlsocket notify ws://localhost:8080 shout '"hello"'
    owlsocket notify ws://localhost:8080 orderPaid @order.json

    PAYLOAD is JSON, or text if it is not valid JSON; @FILE reads it from a file, - from stdin.
    """
    value = read_argument(payload)
    with options.connected() as connection:
        connection.notify(event, value)
        # An event has no answer. Frames arrive in order, so the pong proves that the event before it has arrived.
        connection.ping(options.timeout)


@click.command(cls=UrlCommand)
@client_command
@click.argument("payload")
@click.option("--limit", type=click.IntRange(min=1), help="End after this many responses.")
def request(options: ConnectOptions, payload: str, limit: int | None) -> None:
    """Send a request and print each response, until none arrives for --timeout seconds.

    \b
    owlsocket request ws://localhost:8080 '{"count": 3}' --limit 3
    owlsocket request ws://localhost:8080 @question.json --timeout 2

    PAYLOAD is JSON, or text if it is not valid JSON; @FILE reads it from a file, - from stdin. The protocol does not
    mark the last response: a pause after at least one response ends the command with exit code 0; no response at all
    is a timeout (4).
    """
    value = read_argument(payload)
    # The timeout of a stream is that of each response, not of all together.
    with options.connected() as connection, connection.stream(value, timeout=options.timeout) as responses:
        print_responses(responses, limit)
