"""``python manage.py owlsocket call|listen|ping|check|serve``: talk to the servers of this project's settings.

Results are JSON on stdout, one line each; everything else is on stderr.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from .....connection import Connection
from .....deadline import check_timeout
from .....errors import SocketConnectionError, SocketError
from ....outcome import NO_CONNECTION, NotConnected, describe, plain, read_argument, to_line
from ... import connections as ours
from ...checks import TAG
from ...outcome import exit_code, outcomes

DRAIN_SECONDS = 30.0
GRACE = 1.0
GLANCE_SECONDS = 1.0


class Command(BaseCommand):  # type: ignore[misc]
    """The command; each subcommand is a method."""

    help = (
        "Talk to the servers of the setting OWLSOCKET. Exit codes: 0 ok, 1 the peer answered with an error, 2 usage, "
        "3 no connection, 4 timeout, 5 authentication, 130 interrupted."
    )
    requires_system_checks: list[str] = []  # noqa: RUF012 - the setting's own are run, and end with code 2

    def add_arguments(self, parser: Any) -> None:
        """The subcommands, and what each takes."""
        verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
        call = verbs.add_parser("call", help="Call METHOD and print its result.")
        call.add_argument("method", metavar="METHOD")
        call.add_argument("arguments", metavar="ARG", nargs="*", help="JSON, or text where it is no JSON.")
        listen = verbs.add_parser("listen", help='Print each event as {"event": …, "payload": …}.')
        listen.add_argument("event", metavar="EVENT", nargs="?", default="*", help="Its name (default: all).")
        listen.add_argument("--limit", type=_count, metavar="N", help="End after so many events.")
        ping = verbs.add_parser("ping", help="Print the seconds of a round trip.")
        ping.add_argument("-c", "--count", type=_count, metavar="N", default=1, help="How many (default: 1).")
        for one in (call, listen, ping):
            one.add_argument("--using", metavar="ALIAS", default=ours.DEFAULT, help="The entry of OWLSOCKET.")
        check = verbs.add_parser("check", help="Check the settings, and connect to each server once.")
        serve = verbs.add_parser("serve", help="Run the handlers.py of the apps until interrupted.")
        serve.add_argument(
            "--drain", type=_seconds, metavar="SECONDS", default=DRAIN_SECONDS, help="For handlers, at the end."
        )
        for one in (check, serve):
            one.add_argument(
                "--using",
                metavar="ALIAS",
                action="append",
                help="The entry of OWLSOCKET; may be given several times. "
                + ("Default: all." if one is check else "Default: those with AUTOSTART, else 'default'."),
            )
        for one in (call, listen, ping, check):
            one.add_argument(
                "--timeout", type=_seconds, metavar="SECONDS", help="To connect, and then for each answer."
            )

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        """Check the settings, and do what the subcommand says."""
        with outcomes():
            self.check(tags=[TAG])
            try:
                getattr(self, f"_{verb}")(**options)
            except BrokenPipeError:  # whoever read our stdout has enough, as `head` does
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    # -- the subcommands -----------------------------------------------------------------------------------------------

    def _call(self, method: str, arguments: list[str], using: str, timeout: float | None, **_: Any) -> None:
        values = [read_argument(text) for text in arguments]
        with _connected(using, timeout) as connection:
            self._put(connection.call(method, *values))

    def _listen(self, event: str, limit: int | None, using: str, timeout: float | None, **_: Any) -> None:
        came = 0
        with _connecting(using, timeout) as connection, connection.events(event, limit=limit) as events:
            _wait_open(connection, timeout)
            for message in events:
                self._put({"event": message.event, "payload": message.payload})
                came += 1
            if came != limit:
                ending = connection.wait_closed(timeout)
                text = f"the connection ended: {ending.code} {ending.reason}".strip()
                raise CommandError(plain(text), returncode=NO_CONNECTION)

    def _ping(self, count: int, using: str, timeout: float | None, **_: Any) -> None:
        with _connected(using, timeout) as connection:
            for _number in range(count):
                self._put({"alias": using, "url": connection.url, "seconds": round(connection.ping(timeout), 6)})

    def _check(self, using: list[str] | None, timeout: float | None, **_: Any) -> None:
        worst = 0
        for alias in using or list(ours.clients):
            try:
                with _connected(alias, timeout) as connection:
                    seconds = round(connection.ping(timeout), 6)
                    self._put({"alias": alias, "ok": True, "url": connection.url, "seconds": seconds})
            except (NotConnected, SocketError) as error:
                self._put({"alias": alias, "ok": False, "error": describe(error)})
                worst = worst or exit_code(error)
        if worst:
            raise CommandError("not every server can be reached", returncode=worst)

    def _serve(self, using: list[str] | None, drain: float, **_: Any) -> None:
        clients = [ours.clients[alias] for alias in using or ()]
        with _ending_at_sigterm() as end:
            try:
                for one in clients or (ours.clients.autostart() or [ours.clients[ours.DEFAULT]]):
                    with _not_connected():
                        connection = one.connection
                    clients = [*clients, one] if one not in clients else clients
                    self._put({"alias": one.alias, "url": connection.url})
                while not end.wait(GLANCE_SECONDS):
                    for one in clients:
                        if one.current is None:
                            raise CommandError(f"the connection {one.alias!r} is over", returncode=NO_CONNECTION)
            finally:
                for one in clients:
                    if one.current is not None:
                        one.current.drain(drain)

    def _put(self, value: Any) -> None:
        self.stdout.write(to_line(value))
        self.stdout.flush()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _seconds(text: str) -> float:
    return check_timeout(float(text))


@contextmanager
def _not_connected() -> Iterator[None]:
    try:
        yield
    except ours.ClientDoesNotExist:
        raise
    except Exception as error:
        raise NotConnected(error) from error


@contextmanager
def _connecting(using: str, timeout: float | None) -> Iterator[Connection]:
    """A connection on its way, without handlers: those belong to processes that stay."""
    changes: dict[str, Any] = {} if timeout is None else {"timeout": timeout, "call_timeout": timeout}
    with _not_connected():
        connection = ours.clients.configuration(using).connect(**changes, reconnect=None, wait=False)
    with connection:
        yield connection


def _wait_open(connection: Connection, timeout: float | None) -> Connection:
    """The connection, once it is open."""
    try:
        return connection.wait_open(None if timeout is None else timeout + GRACE)
    except SocketConnectionError as error:
        raise NotConnected(error.__cause__ or error) from error
    except SocketError as error:
        raise NotConnected(error) from error


@contextmanager
def _connected(using: str, timeout: float | None) -> Iterator[Connection]:
    """An open connection."""
    with _connecting(using, timeout) as connection:
        yield _wait_open(connection, timeout)


@contextmanager
def _ending_at_sigterm() -> Iterator[threading.Event]:
    """What is set once the process is asked to end; where a signal can be heard, that is in the main thread."""
    end = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield end
        return
    before = signal.signal(signal.SIGTERM, lambda *_: end.set())
    try:
        yield end
    finally:
        signal.signal(signal.SIGTERM, before)
