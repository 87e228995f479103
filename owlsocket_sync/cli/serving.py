"""``owlsocket serve`` and ``owlsocket demo``: a server to try things on, and a walk through all of them."""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from pathlib import Path

import click

from .arguments import PlainCommand
from .encryption import server_context
from .outcome import Exit, log_to_stderr, put


@click.command(cls=PlainCommand)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port; a free one where it is left out.")
@click.option(
    "--cert", type=click.Path(path_type=Path), metavar="PATH", help="Serve wss:// with this certificate (PEM)."
)
@click.option("--key", type=click.Path(path_type=Path), metavar="PATH", help="Its key, where that is elsewhere.")
def serve(host: str, port: int, cert: Path | None, key: Path | None) -> None:
    """Serve a playground to try things on; prints {"url": …} once it is there.

    \b
    owlsocket serve --port 8080
    owlsocket serve --port 8443 --cert server.pem

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

    if key and not cert:
        raise click.UsageError("--key needs --cert")
    context = server_context(cert, key) if cert else None
    log_to_stderr(logging.INFO)
    signal.signal(signal.SIGTERM, _exit)
    try:
        server = start(playground, host, port, ssl_context=context)
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    with suppress(SystemExit), server:
        put({"url": server.url})
        while not server.wait(1.0):
            pass


def _exit(*_: object) -> None:
    raise SystemExit(0)


@click.command(cls=PlainCommand)
def demo() -> Exit:
    """Walk through everything, with a server in a second process.

    \b
    owlsocket demo

    Exit code 0 when each step gave what it should, 1 otherwise.
    """
    from .demo import demo as walk

    return Exit.OK if walk() else Exit.REMOTE_ERROR
