"""``owlsocket call``, ``notify`` and ``request``: each sends one thing, and prints what comes of it."""

from __future__ import annotations

import click

from .. import SocketTimeout
from .address import UrlCommand
from .outcome import put
from .payloads import read_argument, read_arguments
from .reach import Reach, client_command


@click.command(cls=UrlCommand)
@client_command
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
def call(reach: Reach, method: str, arguments: tuple[str, ...]) -> None:
    """Call METHOD and print its result.

    \b
    owlsocket call ws://localhost:8080 add 2 3
    owlsocket call wss://api.example.com/ws getUser '{"id": 7}' --token-env TOKEN
    owlsocket call ws://localhost:8080 import @orders.json
    jq .order all.json | owlsocket call ws://localhost:8080 order -

    An ARG is JSON, or text where it is no JSON; @FILE takes it from a file, - from stdin.
    """
    values = read_arguments(arguments)
    with reach.connected() as connection:
        put(connection.call(method, *values))


@click.command(cls=UrlCommand)
@client_command
@click.argument("event")
@click.argument("payload", default="null")
def notify(reach: Reach, event: str, payload: str) -> None:
    """Send EVENT, and wait for a sign that the peer read it.

    \b
    owlsocket notify ws://localhost:8080 shout '"hello"'
    owlsocket notify ws://localhost:8080 orderPaid @order.json

    PAYLOAD is JSON, or text where it is no JSON; @FILE takes it from a file, - from stdin.
    """
    value = read_argument(payload)
    with reach.connected() as connection:
        connection.notify(event, value)
        connection.ping(reach.timeout)


@click.command(cls=UrlCommand)
@client_command
@click.argument("payload")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many responses.")
def request(reach: Reach, payload: str, limit: int | None) -> None:
    """Send a request and print each response as it comes, until none does for --timeout seconds.

    \b
    owlsocket request ws://localhost:8080 '{"count": 3}' --limit 3
    owlsocket request ws://localhost:8080 @question.json --timeout 2

    PAYLOAD is JSON, or text where it is no JSON; @FILE takes it from a file, - from stdin. The protocol has no last
    response: a pause after at least one is the end (exit code 0); no response at all is a timeout (4).
    """
    value = read_argument(payload)
    came = 0
    with reach.connected() as connection, connection.stream(value, timeout=reach.timeout) as responses:
        try:
            for response in responses:
                put(response)
                came += 1
                if came == limit:
                    return
        except SocketTimeout:
            if not came:
                raise
