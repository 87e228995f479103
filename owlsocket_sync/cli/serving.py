"""``owlsocket serve`` and ``owlsocket demo``: a demo server, and a tour of the client against it."""

from __future__ import annotations

import logging
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..contrib.exit_codes import ExitCode
from .arguments import PlainCommand, compression_option, subprotocol_option
from .output import log_to_stderr, print_json
from .tls_options import server_context


@click.command(cls=PlainCommand)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on; '::' for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="The port; default: a free one.")
@click.option(
    "--cert", type=click.Path(path_type=Path), metavar="PATH", help="Serve wss:// with this certificate (PEM)."
)
@click.option("--key", type=click.Path(path_type=Path), metavar="PATH", help="Its key, if in another file.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    metavar="ORIGIN",
    help="Let web pages of this origin connect, '*' for all; default: those of the server itself.",
)
@compression_option("Compress messages for clients that offer it.")
@subprotocol_option("A subprotocol that clients may select; may be repeated. Default: the first that a client offers.")
@click.option("--health", metavar="PATH", help="Answer health checks at this path by HTTP; default: none.")
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    multiple=True,
    metavar="ADDRESS",
    help="Believe the X-Forwarded-For of this address or network; default: of none.",
)
@click.option("--proxy-protocol", is_flag=True, help="Expect a header of the PROXY protocol on each connection.")
@click.option("--describe", is_flag=True, help="Answer owlsocket describe and stub.")
def serve(
    host: str,
    port: int,
    cert: Path | None,
    key: Path | None,
    origins: tuple[str, ...],
    compression: str | None,
    subprotocols: tuple[str, ...],
    health: str | None,
    trusted_proxies: tuple[str, ...],
    proxy_protocol: bool,
    describe: bool,
) -> None:
    """Run a demo server; prints {"url": …} when it is ready.

    \b
    owlsocket serve --port 8080
    owlsocket serve --port 8443 --cert server.pem

    \b
    Methods:  echo VALUE…           add A B           time
              slow SECONDS          fail MESSAGE      queue
              callMe METHOD ARG…    notifyMe EVENT PAYLOAD
              enqueueMe PAYLOAD
    Events:   shout                 reaches every client as the event heard
    Requests: {"count": N}          is answered by N responses
    """
    from concurrent.futures import Future

    from .. import Connection
    from ..contracts import Contract
    from ..server import Request, Server
    from ..server import serve as start
    from .demo_handlers import register_handlers

    if key and not cert:
        raise click.UsageError("--key needs --cert")
    context = server_context(cert, key) if cert else None
    log_to_stderr(logging.INFO)
    started: Future[Server] = Future()  # the first client may be here before `start` has returned

    def handle(conn: Connection, request: Request) -> None:
        register_handlers(conn, request, lambda event, payload: started.result().broadcast(event, payload))

    # SystemExit unwinds the with block, which closes the server; the default action would drop its connections.
    signal.signal(signal.SIGTERM, _exit)
    try:
        server = start(
            handle,
            host,
            port,
            ssl_context=context,
            origins=origins or None,
            compression=compression,
            subprotocols=subprotocols or None,
            health=health,
            trusted_proxies=trusted_proxies or None,
            proxy_protocol=proxy_protocol,
            describe=describe and Contract(events={"heard": dict[str, Any]}),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        text = error.strerror or str(error)
        # It names the address itself, but for that of a host that is not found.
        place = "" if text.startswith("cannot listen on ") else f"cannot listen on {host}:{port}: "
        raise click.ClickException(place + text) from error
    started.set_result(server)
    with suppress(SystemExit), server:
        print_json({"url": server.url})
        server.wait()


def _exit(*_: object) -> None:
    raise SystemExit(0)


@click.command(cls=PlainCommand)
def demo() -> ExitCode:
    """Show every feature of a connection, against a server in a second process.

    \b
    owlsocket demo

    The exit code is 0 if each step gives the expected result, otherwise 1.
    """
    from .demo import run_demo

    return ExitCode.OK if run_demo() else ExitCode.REMOTE_ERROR
