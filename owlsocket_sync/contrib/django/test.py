"""Test cases with a server: one server per class; each test sets the answers.

::

    class OrderTests(SocketServerTestCase):
        def test_paid(self):
            self.server_answers("orders.get", {"id": 7})
            self.client.post("/orders/7/pay")
            self.assertEqual(self.wait_for_event("order.paid"), {"order": 7})
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.db import connections
from django.test import LiveServerTestCase, TestCase, TransactionTestCase, override_settings

from ...connection import Connection
from ...deadline import Deadline
from ...errors import SocketTimeout
from ...locks import Condition
from ...protocol.messages import EventMessage
from ...protocol.subscriptions import check_name
from ...server import Request, Server, serve
from ...testing.strict import StrictEnd, check_answers
from ..recorded_hub import Published, RecordedHub
from . import database
from .connections import DEFAULT, SETTING, Client, clients

DEFAULT_TIMEOUT = 5.0
PRODUCTION_KEYS = ("TOKEN", "AUTH", "INBOX", "OUTBOX")
PRODUCTION_OPTIONS = ("proxy", "ssl_context")  # useless towards a ws:// server on this machine


class _TestServerState:
    """Answers that one test has set for the server, and the messages that the server has received.

    Locks: ``_changed`` (a condition) guards everything here, and is notified about each event.
    """

    def __init__(self) -> None:
        self._changed = Condition()
        self._answers: dict[tuple[str, str], Callable[..., Any]] = {}
        self._connections: dict[str, list[Connection]] = {}
        self.events: list[tuple[str, EventMessage]] = []
        self.calls: list[tuple[str, str, tuple[Any, ...]]] = []

    def add_connection(self, using: str, connection: Connection) -> None:
        """Register the answers on a new connection of the project."""
        # Under the lock, as in answer(): an answer that is set meanwhile is registered by exactly one of the two.
        with self._changed:
            self._connections.setdefault(using, []).append(connection)
            for (alias, method), perform in self._answers.items():
                if alias == using:
                    connection.perform(method, perform)
        connection.observe("*", partial(self._on_event, using))
        # The error is marshalled to the project, where the test sees it: a log line on the server's end is noise.
        connection.on_error(lambda error, context: None)

    def _on_event(self, using: str, message: EventMessage) -> None:
        with self._changed:
            self.events.append((using, message))
            self._changed.notify_all()

    def answer(self, using: str, method: str, answer: Any) -> None:
        """Answer calls of a method from now on."""

        def perform(*payload: Any) -> Any:
            with self._changed:
                self.calls.append((using, method, payload))
            if isinstance(answer, BaseException):
                raise answer
            return answer(*payload) if callable(answer) else answer

        with self._changed:
            self._answers[using, method] = perform
            for connection in self._connections.get(using, ()):
                connection.perform(method, perform)

    def wait_for(self, find: Callable[[], list[EventMessage]], seconds: float) -> list[EventMessage]:
        """Return the result of ``find`` as soon as it is not empty, or at the end of the time."""
        with self._changed:
            self._changed.wait_for(find, seconds)
            return find()

    def latest(self, using: str) -> Connection:
        """Return the server's end of the current connection of an alias."""
        with self._changed:
            return self._connections[using][-1]


class SocketServerMixin:
    """Mixin for Django's test cases: a server in this process replaces all servers of ``OWLSOCKET``.

    The server lives as long as the class; answers and received messages belong to one test. Tokens, logins, proxies
    and stores of the settings are not used, and a hub in memory replaces each of their hubs. In a
    `django.test.TestCase`, handlers of the project use the database connections of the test: they see its transaction,
    and their changes are rolled back with it. In a
    `django.test.LiveServerTestCase` the same holds for SQLite in memory, as for the threads of the live server.

    Attributes:
        socket_server: the server.
        socket_timeout: seconds that the methods of this class wait.
        socket_strict: `server_notifies` fails if the project does not observe the event, or a handler raises.
    """

    socket_server: ClassVar[Server]
    socket_timeout: ClassVar[float] = DEFAULT_TIMEOUT
    socket_strict: ClassVar[bool] = True
    _hubs: ClassVar[Mapping[str, RecordedHub]] = {}
    _server_state: ClassVar[_TestServerState]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the server, and point the settings at it."""
        cls._server_state = _TestServerState()
        cls._hubs = {alias: RecordedHub() for alias, entry in _entries().items() if entry.get("HUB") is not None}
        for hub in cls._hubs.values():
            cls.addClassCleanup(hub.close)  # type: ignore[attr-defined]
        # Before the base class: its fixtures may already use a client. Cleanups also run if it fails, unlike tearDown.
        cls.socket_server = serve(cls._handle, name=cls.__name__)
        cls.addClassCleanup(cls.socket_server.close)  # type: ignore[attr-defined]
        entries = {alias: cls._test_entry(alias, entry) for alias, entry in _entries().items()}
        override = override_settings(**{SETTING: entries})
        override.enable()
        cls.addClassCleanup(override.disable)  # type: ignore[attr-defined]
        super().setUpClass()  # type: ignore[misc]

    @classmethod
    def _test_entry(cls, alias: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        """Return an entry of the settings with the URL of the server; the path tells the server the alias."""
        remaining = {key: value for key, value in entry.items() if key not in PRODUCTION_KEYS}
        options = {key: value for key, value in (entry.get("OPTIONS") or {}).items() if key not in PRODUCTION_OPTIONS}
        replaced: dict[str, Any] = {**remaining, "OPTIONS": options}
        if entry.get("HUB") is not None:
            replaced["HUB"] = cls._hubs[alias]
        # An entry that only publishes has none in the settings either.
        if entry.get("URL") is not None or entry.get("HUB") is None:
            replaced["URL"] = f"{cls.socket_server.url}/{alias}"
        return replaced

    @classmethod
    def _handle(cls, connection: Connection, request: Request) -> None:
        cls._server_state.add_connection(request.path.removeprefix("/"), connection)

    def run(self, result: Any = None) -> Any:
        """Run the test with a new state of the server."""
        type(self)._server_state = _TestServerState()
        for hub in self._hubs.values():
            hub.published.clear()
        shared = self._share_database()
        database.shared_connections.update(shared)
        # Cleanups run in reverse order: connections are drained before their database connections are taken back.
        self.addCleanup(_unshare, shared)  # type: ignore[attr-defined]
        self.addCleanup(self._drain_connections)  # type: ignore[attr-defined]
        return super().run(result)  # type: ignore[misc]

    def _share_database(self) -> dict[str, Any]:
        """Allow workers to use the database connections of this thread, as far as they must see the test's data."""
        if not isinstance(self, TransactionTestCase):
            return {}
        candidates = [connections[alias] for alias in connections if alias in _databases(self)]
        if not isinstance(self, TestCase):
            # Without a transaction around the test, other threads see committed data by connections of their own. Only
            # SQLite in memory has no second connection: Django shares it with a live server, and so do workers here.
            live = isinstance(self, LiveServerTestCase)
            candidates = [
                candidate
                for candidate in candidates
                if live and candidate.vendor == "sqlite" and candidate.is_in_memory_db()
            ]
        for candidate in candidates:
            candidate.inc_thread_sharing()
        return {candidate.alias: candidate for candidate in candidates}

    def _drain_connections(self) -> None:
        """Wait for handlers before the transaction is rolled back; the next test connects again."""
        for client in clients.all(initialized_only=True):
            if client.current is not None:
                client.current.drain(self.socket_timeout)

    # -- the server's behaviour ----------------------------------------------------------------------------------------

    def server_answers(self, method: str, answer: Any, *, using: str = DEFAULT) -> None:
        """Set the server's answer to calls of a method.

        Args:
            method: name of the method.
            answer: the result; or an exception to raise; or a callable, which receives the arguments.
            using: alias of the server.

        Raises:
            TypeError: the method is not text, or the answer is an async or a generator function.
            ValueError: the method looks like a pattern.
        """
        check_answers("server_answers", method, [answer])
        self._server_state.answer(using, method, answer)

    def server_notifies(self, event: str, payload: Any = None, *, using: str = DEFAULT) -> None:
        """Send an event from the server to the project, and wait until the project's handlers have run.

        Raises:
            AssertionError: the handlers did not finish within ``socket_timeout``. With ``socket_strict`` also: the
                project does not observe the event, or a handler has raised; the message has the names that it observes.
        """
        check_name("server_notifies", event)
        client = clients[using]
        deadline = Deadline(self.socket_timeout)
        # The first pong proves that the server knows this connection, the second that the event has been read.
        client.connection.ping(deadline.remaining())
        with ExitStack() as stack:
            if self.socket_strict:
                end = StrictEnd(client.connection, "socket_strict = False allows it", client.is_idle_observer)
                end.check_observed(event)
                stack.enter_context(end.no_errors(f"the event {event!r}"))
            self._server_state.latest(using).notify(event, payload)
            client.connection.ping(deadline.remaining())
            if not client.connection.wait_idle(deadline.remaining()):
                raise AssertionError(f"the handlers of {event!r} did not finish within {self.socket_timeout:g} s")

    def server_calls(self, method: str, *payload: Any, using: str = DEFAULT) -> Any:
        """Call a method of the project from the server; returns the result, or raises the error of the method."""
        clients[using].connection.ping(self.socket_timeout)
        return self._server_state.latest(using).call(method, *payload, timeout=self.socket_timeout)

    def wait_for_event(self, event: str, *, using: str = DEFAULT) -> Any:
        """Wait for an event of the project, and return the payload of the latest one in this test.

        Raises:
            AssertionError: no such event was received within ``socket_timeout``.
        """

        def find() -> list[EventMessage]:
            return [message for message in self._events(using) if message.event == event]

        found = self._server_state.wait_for(find, self.socket_timeout)
        if not found:
            names = sorted({message.event for message in self._events(using)})
            received = f"events received: {', '.join(map(repr, names))}" if names else "no events received"
            # Django keeps what waits for a commit; of a TestCase that never comes.
            if any(connection.run_on_commit for connection in connections.all()):
                received += "; what waits for a commit is sent inside of captureOnCommitCallbacks(execute=True)"
            raise AssertionError(f"no event {event!r} within {self.socket_timeout:g} s; {received}")
        return found[-1].payload

    def received_events(self, *, using: str = DEFAULT) -> list[tuple[str, Any]]:
        """Return all events that the project has sent in this test, as names and payloads."""
        self._await_server(clients[using])
        return [(message.event, message.payload) for message in self._events(using)]

    def received_calls(self, *, using: str = DEFAULT) -> list[tuple[Any, ...]]:
        """Return all calls that `server_answers` has answered in this test, as ``(method, *arguments)``."""
        return [(method, *payload) for alias, method, payload in self._server_state.calls if alias == using]

    def published_events(self, *, using: str = DEFAULT) -> list[Published]:
        """Return all events that the project has published to a hub in this test: name, payload, room and user.

        Raises:
            LookupError: the entry of the settings has no hub.
        """
        if using not in self._hubs:
            raise LookupError(f"{SETTING}[{using!r}] has no HUB")
        return list(self._hubs[using].published)

    def _events(self, using: str) -> list[EventMessage]:
        return [message for alias, message in self._server_state.events if alias == using]

    def _await_server(self, client: Client) -> None:
        """Wait until the server has handled everything that the project has sent."""
        connection = client.current
        if connection is None:
            return
        deadline = Deadline(self.socket_timeout)
        connection.ping(deadline.remaining())  # the pong follows everything that was sent before the ping
        if not self._server_state.latest(client.alias).wait_idle(deadline.remaining()):
            raise SocketTimeout(f"the server's handlers did not finish within {self.socket_timeout:g} s")


class SocketServerTestCase(SocketServerMixin, TestCase):  # type: ignore[misc]
    """A `django.test.TestCase` with a server; `SocketServerMixin` is for other test cases."""


def _entries() -> dict[str, Any]:
    entries = getattr(settings, SETTING, None)
    # Without any setting, a test of a reusable app still gets a default server.
    return dict(entries) if isinstance(entries, Mapping) and DEFAULT in entries else {DEFAULT: {}}


def _databases(case: Any) -> Any:
    return connections if case.databases == "__all__" else case.databases


def _unshare(shared: Mapping[str, Any]) -> None:
    for alias, connection in shared.items():
        del database.shared_connections[alias]
        connection.dec_thread_sharing()
