"""The table, played by a client to the embedded server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from owlsocket_sync import Connection, ConnectionState, Message, SocketMessageMalformed
from owlsocket_sync.protocol.reports import ErrorContext
from owlsocket_sync.server import Request, serve
from owlsocket_sync.states import StateChange
from owlsocket_sync.transport.frames import FramingError
from rfc6455.case import Case, passes
from rfc6455.cases import INVALID_TEXT, LARGE, ORDINARY
from rfc6455.player import check_delivered, play
from support.helpers import Collector, eventually, scaled
from support.sockets import knock


class Watch:
    """What a server's handler sees of one client; texts that are no JSON are all that it gets here.

    Those that begin like JSON are heard by listeners, others reported as errors; each kind comes in order.
    """

    def __init__(self) -> None:
        self.heard = Collector()
        self.reported = Collector()
        self.endings = Collector()
        self.breaches = Collector()
        self.errors: list[Exception] = []
        self.connection: Connection
        self.over = threading.Event()

    def attend(self, connection: Connection) -> None:
        """Listen to a client."""
        self.connection = connection
        connection.listen(self._hear)
        connection.on_error(self._note)
        connection.on_state(self._mark)

    def _hear(self, message: Message | str) -> None:
        if isinstance(message, str):
            self.heard(message)
        else:
            self.over.set()  # the one message of the system: the link has ended

    def _mark(self, change: StateChange) -> None:
        if change.state is ConnectionState.CLOSED:
            self.endings(change.code)

    def _note(self, error: Exception, context: ErrorContext) -> None:
        if isinstance(error.__cause__, FramingError):
            self.breaches(error.__cause__.code)
        elif not isinstance(error, SocketMessageMalformed) or error.text is None:
            self.errors.append(error)
        elif not _begins_like_json(error.text):
            self.reported(error.text)


class Hall:
    """One server for all cases; each comes with its name."""

    def __init__(self) -> None:
        self._watches: dict[str, Watch] = {}
        self.server = serve(self._attend)

    def _attend(self, connection: Connection, request: Request) -> None:
        self._watches[request.query["case"]].attend(connection)

    def play(self, case: Case) -> None:
        """Play a case, and see what the server's handler sees, and that the threads for this client end."""
        before = set(threading.enumerate())
        self.play_first(case)
        eventually(lambda: set(threading.enumerate()) <= before)

    def play_first(self, case: Case) -> None:
        """The same for the first client, whose coming starts what the server keeps running."""
        watch = self._watches[case.id] = Watch()
        peer, answer = knock(self.server.port, f"/?case={quote(case.id)}")
        assert answer.startswith("HTTP/1.1 101 ")
        play(case, peer, masked=True)
        assert watch.over.wait(scaled(5)), "the server noticed that the link has ended"
        texts = [_as_text(message.message()) for message in case.delivers]
        assert watch.connection.stats.messages_in == len(texts)
        for collector, like_json in ((watch.heard, True), (watch.reported, False)):
            expected = [text for text in texts if _begins_like_json(text) is like_json]
            check_delivered(collector.wait(len(expected)), expected)
        assert watch.errors == []
        assert watch.endings.wait(1) == [1006 if case.code is None else case.code]
        assert watch.breaches.items in ([], [case.code])


def _begins_like_json(text: str) -> bool:
    return text.startswith(("[", "{"))


def _as_text(message: str | bytes) -> str:
    """A binary message counts as its text."""
    return message if isinstance(message, str) else message.decode("utf-8", "replace")


@pytest.fixture(scope="module")
def hall() -> Iterator[Hall]:
    """The server, which has seen a first client."""
    hall = Hall()
    with hall.server:
        hall.play_first(passes("a-first-client", [], []))
        yield hall


@pytest.mark.parametrize("case", ORDINARY, ids=str)
def test_row_32_a_server_conforms_to_rfc_6455(hall: Hall, case: Case) -> None:
    """Whole messages are delivered, pings answered, and the link ends with the code that is due."""
    hall.play(case)


@pytest.mark.parametrize("case", INVALID_TEXT, ids=str)
def test_row_12_row_32_a_server_refuses_invalid_utf8(hall: Hall, case: Case) -> None:
    """With 1007; nothing of it is delivered, and no handler hears of an error of decoding."""
    hall.play(case)


@pytest.mark.slow
@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("case", LARGE, ids=str)
def test_row_32_a_server_accepts_large_messages(hall: Hall, case: Case) -> None:
    """Up to the limit and no byte more, in whatever pieces they come."""
    hall.play(case)
