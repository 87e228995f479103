"""The commands: each connects, does one thing, and prints what it got."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import click

from .. import Connection, SocketError, SocketTimeout, __version__, connect
from .arguments import PlainGroup, Seconds, read_argument, read_secret
from .identity import keys, login
from .outcome import Exit, NotConnected, log_to_stderr, put, say

TIMEOUT = 10.0
GRACE = 1.0


@click.group(
    cls=PlainGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 ok, 1 the peer answered with an error, 2 usage, 3 no connection, 4 timeout, "
    "5 authentication, 130 interrupted.",
)
@click.version_option(__version__, "--version", prog_name="owlsocket")
@click.option("-v", "--verbose", is_flag=True, help="Tell on stderr what the connection does.")
def owlsocket(verbose: bool) -> None:
    """Talk to a server that speaks @owlmeans/socket.

    Results are JSON on stdout, one line each; everything else is on stderr.
    """
    if verbose:
        log_to_stderr(logging.INFO)


def client_command(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that connects; the function gets the connection, on its way, and the timeout."""

    @wraps(function)
    def command(url: str, timeout: float, token_env: str | None, token_file: Path | None, **values: Any) -> Any:
        token = read_secret(token_env, token_file, "token")
        try:
            connection = connect(url, token=token, timeout=timeout, call_timeout=timeout, reconnect=None, wait=False)
        except ValueError as error:
            raise NotConnected(error) from error
        with connection:
            return function(connection, timeout=timeout, **values)

    for option in (
        click.option("--token-file", type=click.Path(path_type=Path), help="A file that holds the token."),
        click.option("--token-env", metavar="NAME", help="The environment variable that holds the token."),
        click.option(
            "--timeout",
            type=Seconds(),
            metavar="SECONDS",
            default=TIMEOUT,
            show_default=True,
            help="To connect, and then for each answer.",
        ),
        click.argument("url"),
    ):
        command = option(command)
    return command


def opened(connection: Connection, timeout: float) -> Connection:
    """The connection, once it is open."""
    try:
        return connection.wait_open(timeout + GRACE)
    except SocketError as error:
        raise NotConnected(error.__cause__ or error) from error


owlsocket.add_command(keys)
owlsocket.add_command(login)


@owlsocket.command()
@client_command
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
def call(connection: Connection, timeout: float, method: str, arguments: tuple[str, ...]) -> None:
    """Call METHOD and print its result.

    An ARG is JSON, or text where it is no JSON: owlsocket call ws://localhost:8080 add 2 3
    """
    values = [read_argument(text) for text in arguments]
    put(opened(connection, timeout).call(method, *values))


@owlsocket.command()
@client_command
@click.argument("event")
@click.argument("payload", default="null")
def notify(connection: Connection, timeout: float, event: str, payload: str) -> None:
    """Send EVENT, and wait for a sign that the peer read it.

    PAYLOAD is JSON, or text where it is no JSON.
    """
    value = read_argument(payload)
    opened(connection, timeout).notify(event, value)
    connection.ping(timeout)


@owlsocket.command()
@client_command
@click.argument("event", default="*")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many events.")
def listen(connection: Connection, timeout: float, event: str, limit: int | None) -> Exit:
    """Print each EVENT (default: all) as {"event": …, "payload": …}.

    Ends with exit code 0 after --limit events, 130 when it is interrupted, 3 when the connection ends before.
    """
    came = 0
    with connection.events(event, limit=limit) as events:
        opened(connection, timeout)
        for message in events:
            put({"event": message.event, "payload": message.payload})
            came += 1
    if came == limit:
        return Exit.OK
    ending = connection.wait_closed(timeout)
    return say(f"the connection ended: {ending.code} {ending.reason}".strip(), Exit.NO_CONNECTION)


@owlsocket.command()
@client_command
@click.argument("payload")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many responses.")
def request(connection: Connection, timeout: float, payload: str, limit: int | None) -> None:
    """Send a request and print each response, until none comes for --timeout seconds.

    PAYLOAD is JSON, or text where it is no JSON. The protocol has no last response: a pause after at least one is the
    end (exit code 0); no response at all is a timeout (4).
    """
    value = read_argument(payload)
    came = 0
    with opened(connection, timeout).stream(value, timeout=timeout) as responses:
        try:
            for response in responses:
                put(response)
                came += 1
                if came == limit:
                    return
        except SocketTimeout:
            if not came:
                raise


@owlsocket.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port; a free one where it is left out.")
def serve(host: str, port: int) -> None:
    """Serve a playground to try things on; prints {"url": …} once it is there.

    \b
    Methods:  echo VALUE…           add A B           time
              slow SECONDS          fail MESSAGE      queue
              callMe METHOD ARG…    notifyMe EVENT PAYLOAD
              enqueueMe PAYLOAD
    Events:   shout                 is answered by the event heard
    Requests: {"count": N}          is answered by N responses
    """
    from ..server import serve as start
    from .playground import playground

    log_to_stderr(logging.INFO)
    signal.signal(signal.SIGTERM, _exit)
    try:
        server = start(playground, host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    with suppress(SystemExit), server:
        put({"url": server.url})
        while not server.wait(1.0):
            pass


def _exit(*_: object) -> None:
    raise SystemExit(0)


@owlsocket.command()
def demo() -> Exit:
    """Walk through everything, with a server in a second process.

    Exit code 0 when each step gave what it should, 1 otherwise.
    """
    from .demo import demo as walk

    return Exit.OK if walk() else Exit.REMOTE_ERROR
