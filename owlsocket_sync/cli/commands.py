"""The commands: each connects, does one thing, and prints what it got."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from .. import Connection, SocketTimeout, __version__, connect
from .demo import demo as run_demo
from .outcome import Exit, NotConnected, put, say

TIMEOUT = 10.0


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="owlsocket")
@click.option("-v", "--verbose", is_flag=True, help="Tell on stderr what the connection does.")
def owlsocket(verbose: bool) -> None:
    """Talk to a server that speaks @owlmeans/socket, from the command line."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(message)s")


def client_command(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that connects; the function gets the connection, and the timeout."""

    @wraps(function)
    def command(url: str, timeout: float, token_env: str | None, token_file: Path | None, **values: Any) -> Any:
        token = read_token(token_env, token_file)
        try:
            connection = connect(url, token=token, timeout=timeout, call_timeout=timeout, reconnect=None)
        except Exception as error:
            raise NotConnected from error
        with connection:
            return function(connection, timeout=timeout, **values)

    for option in (
        click.option("--token-file", type=click.Path(path_type=Path), help="A file that holds the token."),
        click.option("--token-env", metavar="NAME", help="The environment variable that holds the token."),
        click.option("--timeout", type=click.FloatRange(min=0), default=TIMEOUT, show_default=True, help="Seconds."),
        click.argument("url"),
    ):
        command = option(command)
    return command


def read_token(variable: str | None, file: Path | None) -> str | None:
    """The token from where the options say it is; it is never an argument, which other users could see."""
    if variable and file:
        raise click.UsageError("--token-env and --token-file exclude each other")
    if variable:
        token = os.environ.get(variable, "")
        if not token:
            raise click.UsageError(f"--token-env: the environment has no {variable}")
        return token
    if file:
        try:
            return file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise click.UsageError(f"--token-file: {error.strerror}: {file}") from error
    return None


def read_argument(text: str) -> Any:
    """An argument as JSON, or as text where it is no JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


@owlsocket.command()
@client_command
@click.argument("method")
@click.argument("arguments", nargs=-1, metavar="[ARG]...")
def call(connection: Connection, timeout: float, method: str, arguments: tuple[str, ...]) -> None:
    """Call METHOD and print its result. An ARG is JSON, or text where it is no JSON."""
    put(connection.call(method, *map(read_argument, arguments), timeout=timeout))


@owlsocket.command()
@client_command
@click.argument("event")
@click.argument("payload", default="null")
def notify(connection: Connection, timeout: float, event: str, payload: str) -> None:
    """Send EVENT."""
    connection.notify(event, read_argument(payload))


@owlsocket.command()
@client_command
@click.argument("event", default="*")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many events.")
def listen(connection: Connection, timeout: float, event: str, limit: int | None) -> Exit:
    """Print each EVENT (default: all), until interrupted, or until the server ends the connection."""
    for message in connection.events(event, limit=limit):
        put({"event": message.event, "payload": message.payload})
        limit = None if limit is None else limit - 1
    if limit == 0:
        return Exit.OK
    return say("the server ended the connection", Exit.NO_CONNECTION)


@owlsocket.command()
@client_command
@click.argument("payload")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many responses.")
def request(connection: Connection, timeout: float, payload: str, limit: int | None) -> None:
    """Send a request and print each response, until none comes for --timeout seconds.

    No response at all is a timeout; a pause after at least one is the end.
    """
    came = 0
    with connection.stream(read_argument(payload), timeout=timeout) as responses:
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
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port; 0 takes a free one.")
def serve(host: str, port: int) -> None:
    """Serve a playground to try things on; its URL is printed once it is there."""
    from ..server import serve as start
    from .playground import playground

    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    try:
        server = start(playground, host, port)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from error
    with server:
        put({"url": server.url})
        while not stopped.wait(0.2):
            pass


@owlsocket.command()
def demo() -> Exit:
    """Walk through everything with a server in a second process; exit code 0 when all went as it should."""
    return Exit.OK if run_demo() else Exit.REMOTE_ERROR
