"""For a project's tests: a server for each class, and what it answers said by each test.

::

    class OrderTests(SocketServerTestCase):
        def test_paid(self):
            self.server_answers("orders.get", {"id": 7})
            self.client.post("/orders/7/pay")
            self.assertEqual(self.server_heard("order.paid"), {"order": 7})
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar

from django.conf import settings
from django.db import connections
from django.test import LiveServerTestCase, TestCase, TransactionTestCase, override_settings

from ...connection import Connection
from ...deadline import Deadline
from ...errors import SocketTimeout
from ...protocol.messages import EventMessage
from ...server import Request, Server, serve
from . import database
from .connections import DEFAULT, SETTING, Client, clients

SECONDS = 5.0
TO_A_REAL_SERVER = ("proxy", "ssl_context")


class _Conversation:
    """What one test says for the server, and what the server was told meanwhile."""

    def __init__(self) -> None:
        self._here = threading.Condition()
        self._answers: dict[tuple[str, str], Callable[..., Any]] = {}
        self._connections: dict[str, list[Connection]] = {}
        self.heard: list[tuple[str, EventMessage]] = []
        self.asked: list[tuple[str, str, tuple[Any, ...]]] = []

    def join(self, using: str, connection: Connection) -> None:
        """A connection of the project's came."""
        with self._here:
            self._connections.setdefault(using, []).append(connection)
            for (alias, method), answer in self._answers.items():
                if alias == using:
                    connection.perform(method, answer)
        connection.observe("*", partial(self._hear, using))
        connection.on_error(lambda error, context: None)  # the project gets it, and the test sees that

    def _hear(self, using: str, message: EventMessage) -> None:
        with self._here:
            self.heard.append((using, message))
            self._here.notify_all()

    def answer(self, using: str, method: str, answer: Any) -> None:
        """From now on, this is what the server says to those that call the method."""

        def perform(*payload: Any) -> Any:
            with self._here:
                self.asked.append((using, method, payload))
            if isinstance(answer, BaseException):
                raise answer
            return answer(*payload) if callable(answer) else answer

        with self._here:
            self._answers[using, method] = perform
            for connection in self._connections.get(using, ()):
                connection.perform(method, perform)

    def wait_for(self, find: Callable[[], list[EventMessage]], seconds: float) -> list[EventMessage]:
        """What is found, as soon as it is."""
        with self._here:
            self._here.wait_for(find, seconds)
            return find()

    def latest(self, using: str) -> Connection:
        """The server's end of the connection that this alias has."""
        with self._here:
            return self._connections[using][-1]


class SocketServerMixin:
    """Goes before a test case of Django's: a server in this process stands in for all those in ``OWLSOCKET``.

    The server lives as long as the class, a conversation with it as long as one test: what one says, answers and hears
    is nothing to the next one. Tokens, logins and proxies are left out. Within `django.test.TestCase`, handlers of the
    project work on the test's own database connections, so they see its transaction, and what they write is rolled back
    with it; in a `django.test.LiveServerTestCase` they do so on SQLite in memory, as the server's threads do.

    Attributes:
        socket_server: the server.
        socket_timeout: seconds that the methods here wait.
    """

    socket_server: ClassVar[Server]
    socket_timeout: ClassVar[float] = SECONDS
    _conversation: ClassVar[_Conversation]

    @classmethod
    def setUpClass(cls) -> None:
        """Start the server, and have the settings lead to it."""
        cls._conversation = _Conversation()
        cls.socket_server = serve(cls._welcome, name=cls.__name__)
        cls.addClassCleanup(cls.socket_server.close)  # type: ignore[attr-defined]
        entries = {alias: cls._leading_here(alias, entry) for alias, entry in _entries().items()}
        override = override_settings(**{SETTING: entries})
        override.enable()
        cls.addClassCleanup(override.disable)  # type: ignore[attr-defined]
        super().setUpClass()  # type: ignore[misc]

    @classmethod
    def _leading_here(cls, alias: str, entry: Mapping[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in entry.items() if key not in ("TOKEN", "AUTH")}
        options = {key: value for key, value in (entry.get("OPTIONS") or {}).items() if key not in TO_A_REAL_SERVER}
        return {**kept, "OPTIONS": options, "URL": f"{cls.socket_server.url}/{alias}"}

    @classmethod
    def _welcome(cls, connection: Connection, request: Request) -> None:
        cls._conversation.join(request.path.removeprefix("/"), connection)

    def run(self, result: Any = None) -> Any:
        """Run the test, within a conversation of its own."""
        type(self)._conversation = _Conversation()
        lent = self._lend_database()
        database.shared.update(lent)
        self.addCleanup(_take_back, lent)  # type: ignore[attr-defined]
        self.addCleanup(self._end_conversation)  # type: ignore[attr-defined]
        return super().run(result)  # type: ignore[misc]

    def _lend_database(self) -> dict[str, Any]:
        if not isinstance(self, TransactionTestCase):
            return {}
        theirs = [connections[alias] for alias in connections if alias in _databases(self)]
        if not isinstance(self, TestCase):
            live = isinstance(self, LiveServerTestCase)
            theirs = [one for one in theirs if live and one.vendor == "sqlite" and one.is_in_memory_db()]
        for one in theirs:
            one.inc_thread_sharing()
        return {one.alias: one for one in theirs}

    def _end_conversation(self) -> None:
        """Let handlers finish before the transaction is rolled back; the next test gets connections of its own."""
        for one in clients.all(initialized_only=True):
            if one.current is not None:
                one.current.drain(self.socket_timeout)

    # -- what a test says for the server -------------------------------------------------------------------------------

    def server_answers(self, method: str, answer: Any, *, using: str = DEFAULT) -> None:
        """Say what the server answers to calls of a method.

        Args:
            method: its name.
            answer: the result; or an exception, which the server raises; or a callable, which gets the arguments.
            using: the alias whose server it is.
        """
        self._conversation.answer(using, method, answer)

    def server_notifies(self, event: str, payload: Any = None, *, using: str = DEFAULT) -> None:
        """Have the server send an event to the project, and wait until the project's handlers have run.

        Raises:
            AssertionError: they have not, within ``socket_timeout``.
        """
        client = clients[using]
        deadline = Deadline(self.socket_timeout)
        client.connection.ping(deadline.remaining())  # from here on, the server knows this connection
        self._conversation.latest(using).notify(event, payload)
        client.connection.ping(deadline.remaining())  # from here on, the event was read
        if not client.connection._settle(deadline):
            raise AssertionError(f"the handlers of {event!r} did not finish within {self.socket_timeout:g} s")

    def server_calls(self, method: str, *payload: Any, using: str = DEFAULT) -> Any:
        """Have the server call a method that the project performs, and return the result; raises what it raised."""
        clients[using].connection.ping(self.socket_timeout)
        return self._conversation.latest(using).call(method, *payload, timeout=self.socket_timeout)

    def server_heard(self, event: str, *, using: str = DEFAULT) -> Any:
        """The payload of the latest event of this name that the project sent in this test, waited for.

        Raises:
            AssertionError: none came within ``socket_timeout``.
        """

        def find() -> list[EventMessage]:
            return [one for alias, one in self._conversation.heard if alias == using and one.event == event]

        found = self._conversation.wait_for(find, self.socket_timeout)
        if not found:
            names = sorted({one.event for alias, one in self._conversation.heard if alias == using})
            heard = f"but {', '.join(map(repr, names))}" if names else "nor any other"
            raise AssertionError(f"the server heard no event {event!r} within {self.socket_timeout:g} s, {heard}")
        return found[-1].payload

    def server_events(self, *, using: str = DEFAULT) -> list[tuple[str, Any]]:
        """All events that the project sent in this test so far, as names and payloads."""
        self._catch_up(clients[using])
        return [(one.event, one.payload) for alias, one in self._conversation.heard if alias == using]

    def server_asked(self, *, using: str = DEFAULT) -> list[tuple[Any, ...]]:
        """All calls that `server_answers` answered in this test so far, as ``(method, *arguments)``."""
        return [(method, *payload) for alias, method, payload in self._conversation.asked if alias == using]

    def _catch_up(self, client: Client) -> None:
        """What the project sent until now has been read, and looked at."""
        connection = client.current
        if connection is None:
            return
        deadline = Deadline(self.socket_timeout)
        connection.ping(deadline.remaining())
        if not self._conversation.latest(client.alias)._settle(deadline):
            raise SocketTimeout("the server is still busy")


class SocketServerTestCase(SocketServerMixin, TestCase):  # type: ignore[misc]
    """`django.test.TestCase`, with a server; see `SocketServerMixin` for other test cases."""


def _entries() -> dict[str, Any]:
    entries = getattr(settings, SETTING, None)
    return dict(entries) if isinstance(entries, Mapping) and DEFAULT in entries else {DEFAULT: {}}


def _databases(case: Any) -> Any:
    return connections if case.databases == "__all__" else case.databases


def _take_back(lent: Mapping[str, Any]) -> None:
    for alias, one in lent.items():
        del database.shared[alias]
        one.dec_thread_sharing()
