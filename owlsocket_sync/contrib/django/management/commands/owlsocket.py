"""``python manage.py owlsocket call|listen|ping|check|serve``: use the connections of the project's settings.

Results are JSON lines on stdout; everything else is on stderr.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from .....connection import Connection
from .....deadline import check_timeout
from .....errors import SocketError
from .....protocol.events import EventStream
from ....exit_codes import (
    ExitCode,
    NotConnected,
    close_text,
    describe,
    escape_control,
    parse_argument,
    redirect_to_devnull,
    to_json_line,
    wait_open,
)
from ... import connections
from ...checks import TAG
from ...exit_codes import command_errors, exit_code

DRAIN_SECONDS = 30.0
POLL_SECONDS = 1.0


class Command(BaseCommand):  # type: ignore[misc]
    """The management command; each subcommand is a method."""

    help = (
        "Use the connections of the setting OWLSOCKET. Exit codes: 0 ok, 1 the peer answered with an error, 2 usage, "
        "3 no connection, 4 timeout, 5 authentication, 130 interrupted."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012 - handle() runs our own, for exit code 2

    def add_arguments(self, parser: Any) -> None:
        """Add the subcommands and their arguments."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        call = verbs.add_parser("call", help="Call METHOD and print its result.")
        call.add_argument("method", metavar="METHOD")
        call.add_argument("arguments", metavar="ARG", nargs="*", help="JSON, or plain text if it does not parse.")
        listen = verbs.add_parser("listen", help='Print each event as {"event": …, "payload": …}.')
        listen.add_argument("event", metavar="EVENT", nargs="?", default="*", help="Name of the event (default: all).")
        listen.add_argument("--limit", type=_count, metavar="N", help="Exit after N events.")
        ping = verbs.add_parser("ping", help="Print the round-trip time in seconds.")
        ping.add_argument("-c", "--count", type=_count, metavar="N", default=1, help="Number of pings (default: 1).")
        for subparser in (call, listen, ping):
            subparser.add_argument(
                "--using", metavar="ALIAS", default=connections.DEFAULT, help="The entry of OWLSOCKET."
            )
        check = verbs.add_parser("check", help="Check the settings, and ping each server once.")
        serve = verbs.add_parser("serve", help="Run the handlers of the apps until interrupted.")
        serve.add_argument(
            "--drain",
            type=_seconds,
            metavar="SECONDS",
            default=DRAIN_SECONDS,
            help="Time for handlers to finish at the end.",
        )
        for subparser in (check, serve):
            subparser.add_argument(
                "--using",
                metavar="ALIAS",
                action="append",
                help="The entry of OWLSOCKET; may be repeated. "
                + ("Default: all." if subparser is check else "Default: AUTOSTART entries, else 'default'."),
            )
        for subparser in (call, listen, ping, check):
            subparser.add_argument(
                "--timeout", type=_seconds, metavar="SECONDS", help="Timeout to connect, and for each answer."
            )

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Check the settings and run the subcommand."""
        with command_errors():
            self.check(tags=[TAG])  # only ours: a command must not fail for the checks of other apps
            try:
                getattr(self, f"_{verb}")(**options)
            except BrokenPipeError:
                redirect_to_devnull(sys.stdout)

    # -- the subcommands -----------------------------------------------------------------------------------------------

    def _call(self, method: str, arguments: list[str], using: str, timeout: float | None, **_: Any) -> None:
        values = [parse_argument(text) for text in arguments]
        with _connected(using, timeout) as connection:
            self._print_json(connection.call(method, *values))

    def _listen(self, event: str, limit: int | None, using: str, timeout: float | None, **_: Any) -> None:
        received = 0
        streams: list[EventStream] = []

        # Before anything connects: the server may send events at once.
        def subscribe(connection: Connection) -> None:
            streams.append(connection.events(event, limit=limit))

        with _connecting(using, timeout, setup=subscribe) as connection, streams[0] as events:
            wait_open(connection, timeout)
            for message in events:
                self._print_json({"event": message.event, "payload": message.payload})
                received += 1
            if received != limit:
                close_info = connection.wait_closed(timeout)
                text = close_text(close_info)
                raise CommandError(escape_control(text), returncode=ExitCode.NO_CONNECTION)

    def _ping(self, count: int, using: str, timeout: float | None, **_: Any) -> None:
        with _connected(using, timeout) as connection:
            for _number in range(count):
                self._print_json({"alias": using, "url": connection.url, "seconds": round(connection.ping(timeout), 6)})

    def _check(self, using: list[str] | None, timeout: float | None, **_: Any) -> None:
        code = 0
        clients = connections.clients
        # Without those that only publish to a hub, which have no server.
        for alias in using or [alias for alias in clients if clients.configuration(alias).url is not None]:
            try:
                with _connected(alias, timeout) as connection:
                    seconds = round(connection.ping(timeout), 6)
                    self._print_json({"alias": alias, "ok": True, "url": connection.url, "seconds": seconds})
            except (NotConnected, SocketError) as error:
                self._print_json({"alias": alias, "ok": False, "error": describe(error)})
                code = code or exit_code(error)
        if code:
            raise CommandError("not every server is reachable", returncode=code)

    def _serve(self, using: list[str] | None, drain: float, **_: Any) -> None:
        clients = [connections.clients[alias] for alias in using or ()]
        with _sigterm_event() as stop:
            try:
                for client in clients or (
                    connections.clients.autostart() or [connections.clients[connections.DEFAULT]]
                ):
                    with _connect_errors():
                        connection = client.connection
                    clients = [*clients, client] if client not in clients else clients
                    self._print_json({"alias": client.alias, "url": connection.url})
                while not stop.wait(POLL_SECONDS):
                    for client in clients:
                        # A lost link is not the end: a client without a connection has given up for good.
                        if client.current is None:
                            raise CommandError(
                                f"connection {client.alias!r} is closed", returncode=ExitCode.NO_CONNECTION
                            )
            finally:
                for client in clients:
                    if client.current is not None:
                        client.current.drain(drain)

    def _print_json(self, value: Any) -> None:
        self.stdout.write(to_json_line(value))
        self.stdout.flush()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    return check_timeout(float(text))


@contextmanager
def _connect_errors() -> Iterator[None]:
    """Convert errors of connecting to `NotConnected`; their exit codes differ from those of errors in a call."""
    try:
        yield
    except connections.ClientDoesNotExist:
        raise
    except Exception as error:
        raise NotConnected(error) from error


@contextmanager
def _connecting(using: str, timeout: float | None, **changes: Any) -> Iterator[Connection]:
    """Connect in the background, without the project's handlers, which belong to `serve`."""
    changes |= {} if timeout is None else {"timeout": timeout, "call_timeout": timeout}
    with _connect_errors():
        # Without reconnect: a command reports a lost link and ends, in place of waiting for another one.
        connection = connections.clients.configuration(using).connect(**changes, reconnect=None, wait=False)
    with connection:
        yield connection


@contextmanager
def _connected(using: str, timeout: float | None) -> Iterator[Connection]:
    """Open a connection."""
    with _connecting(using, timeout) as connection:
        yield wait_open(connection, timeout)


@contextmanager
def _sigterm_event() -> Iterator[threading.Event]:
    """Yield an event that is set by SIGTERM."""
    stop = threading.Event()
    # Python allows signal handlers in the main thread only; call_command() may run in any other.
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, previous)
