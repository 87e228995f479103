"""Each example in the documentation of ``@owlmeans/socket`` has its blocking twin, and works."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import wait
from typing import Any

import pytest

from owlsocket_sync import (
    AuthenticationStage,
    Connection,
    EventMessage,
    Message,
    MessageType,
    ResilientError,
    SocketError,
    connect,
)
from owlsocket_sync.server import Request, Server, serve
from support.handlers import drop_link
from support.helpers import Collector, eventually

SECONDS = 5.0
PROFILES = {"123": {"name": "Ada"}}


def service(conn: Connection, request: Request) -> None:
    """The server that the examples talk to."""
    conn.on_error(lambda error, context: None)

    @conn.perform("getUsers")
    def get_users(options: dict[str, int]) -> list[dict[str, str]]:
        return list(PROFILES.values())[: options["limit"]]

    @conn.perform("getUserById")
    def get_user(id: str) -> dict[str, str]:
        if id not in PROFILES:
            raise LookupError("User not found")
        return PROFILES[id]

    conn.perform("getUserProfile", get_user)
    conn.perform("updateUser", lambda id, data: {**PROFILES[id], **data})
    conn.perform("operation", lambda number: {"number": number})
    conn.perform("longRunningOperation", lambda: conn.consume(timeout=0.5))
    conn.perform("getProtectedData", lambda: "secret" if conn.stage is AuthenticationStage.AUTHENTICATED else None)
    conn.perform("hangUp", lambda: drop_link(conn))
    conn.perform("talkBack", lambda text: conn.call("echo", text))
    conn.observe("user-online", lambda message: conn.notify("chat-message", {"welcome": message.payload["userId"]}))
    conn.observe("order-status-changed", lambda message: conn.notify("order-status-changed", message.payload))
    conn.observe("queue-me", lambda message: [conn.enqueue(payload, id) for payload, id in message.payload])

    def acknowledge(id: str, payload: Any) -> bool:
        if payload["action"] != "stream-data":
            return False
        for index in range(3):
            conn.reply(id, {"data": index, "hasMore": index < 2})
        return True

    conn.acknowledge(acknowledge)

    def authenticate(stage: Any, payload: Any) -> tuple[AuthenticationStage, Any]:
        if stage is AuthenticationStage.INIT:
            return AuthenticationStage.ALLOWENCE, {"challenge": payload["clientId"][::-1]}
        if payload["response"] != "my-app":
            raise PermissionError("wrong response")
        return AuthenticationStage.AUTHENTICATED, {"welcome": True}

    conn.authenticate = authenticate


@pytest.fixture
def server() -> Iterator[Server]:
    """It, on a real socket."""
    with serve(service) as running:
        yield running


@pytest.fixture
def connection(server: Server) -> Iterator[Connection]:
    """A connection to it."""
    with connect(server.url) as conn:
        yield conn


def test_basic_connection_usage(connection: Connection) -> None:
    """Send an event, listen to events, call, and be called."""
    messages = Collector()
    unsubscribe = connection.observe("chat-message", messages)
    connection.notify("user-online", {"userId": "123", "status": "active"})
    assert messages.wait(1)[0].payload == {"welcome": "123"}
    assert connection.call("getUserProfile", "123") == {"name": "Ada"}

    @connection.perform("echo")
    def echo(message: str) -> str:
        return f"Echo: {message}"

    assert connection.call("talkBack", "twit") == "Echo: twit"
    unsubscribe()


def test_event_system(connection: Connection) -> None:
    """Publish, observe, clean up."""
    shown: list[str] = []

    def update_order(event: EventMessage) -> None:
        shown.append(f"Order {event.payload['orderId']} is now {event.payload['status']}")

    unsubscribe = connection.observe("order-status-changed", update_order)
    connection.notify("order-status-changed", {"orderId": "order-123", "status": "shipped"})
    eventually(lambda: shown)
    assert shown == ["Order order-123 is now shipped"]
    unsubscribe()


def test_rpc_communication(connection: Connection) -> None:
    """Calls with arguments, and the error that a handler throws."""
    assert connection.call("getUsers", {"page": 1, "limit": 10}) == [{"name": "Ada"}]
    assert connection.call("getUserById", "123") == {"name": "Ada"}
    assert connection.call("updateUser", "123", {"name": "John Doe"}) == {"name": "John Doe"}
    with pytest.raises(ResilientError, match="User not found"):
        connection.call("getUserById", "999")


@pytest.mark.slow
def test_request_response_pattern(connection: Connection) -> None:
    """An observer that goes on while there is more, and the same as an iteration."""
    chunks = Collector()
    unsubscribe = connection.request(
        {"action": "stream-data", "filters": {"category": "important"}},
        lambda response: chunks(response["data"]) or response["hasMore"],
    )
    assert chunks.wait(3) == [0, 1, 2]
    eventually(lambda: not unsubscribe.active)
    received = []
    for response in connection.stream({"action": "stream-data"}):
        received.append(response["data"])
        if not response["hasMore"]:
            break
    assert received == [0, 1, 2]


def test_authentication_flow(connection: Connection) -> None:
    """Init, challenge, authenticate; then what is protected can be had."""
    assert connection.call("getProtectedData") is None
    result = connection.auth(AuthenticationStage.INIT, {"clientId": "my-app"})
    if result["challenge"]:
        result = connection.auth(AuthenticationStage.AUTHENTICATE, {"response": result["challenge"][::-1]})
    assert result == {"welcome": True}
    assert connection.stage is AuthenticationStage.AUTHENTICATED
    assert connection.call("getProtectedData") == "secret"


@pytest.mark.slow
def test_authentication_that_fails(connection: Connection) -> None:
    """It throws."""
    with pytest.raises(ResilientError, match="wrong response"):
        connection.auth(AuthenticationStage.AUTHENTICATE, {"response": "?"})


def test_message_queuing(connection: Connection) -> None:
    """Enqueue, count, consume, consume with a filter."""
    welcome = {"type": "user-notification", "userId": "123", "message": "Welcome!"}
    alert = {"type": "system-alert", "level": "warning", "text": "Maintenance scheduled"}
    connection.notify("queue-me", [(welcome, None), (alert, "maintenance-alert-1"), (welcome, None)])
    eventually(lambda: connection.enqueued() == 3)
    consumed = connection.consume()
    assert consumed is not None
    payload, id, remaining = consumed
    assert (payload, id, remaining) == (welcome, None, 2)
    alerts_only = connection.consume(lambda payload: payload["type"] == "system-alert")
    assert alerts_only == (alert, "maintenance-alert-1", 1)
    connection.enqueue(welcome)
    assert connection.call("longRunningOperation") == [welcome, None, 0]


def test_connection_lifecycle(connection: Connection) -> None:
    """Listen to everything, and close."""
    heard: list[str] = []

    def listener(message: Message | str) -> None:
        if isinstance(message, str):
            heard.append(f"Raw message: {message}")
        elif message.type is MessageType.SYSTEM:
            heard.append(f"System message: {message.payload}")
        elif message.type is MessageType.ERROR:
            heard.append(f"Connection error: {message.payload}")

    unsubscribe_listener = connection.listen(listener)
    with pytest.raises(ResilientError):
        connection.call("getUserById", "999")
    connection.close()
    eventually(lambda: len(heard) == 2)
    assert heard == [
        "Connection error: ResilientError|||User not found|||LookupError: User not found",
        "System message: {'code': 1000}",
    ]
    unsubscribe_listener()


@pytest.mark.parametrize(
    ("method", "timeout", "expected"),
    [("longRunningOperation", 0.05, "Call timed out"), ("hangUp", SECONDS, "Connection lost, attempting reconnect...")],
)
def test_error_handling(connection: Connection, method: str, timeout: float, expected: str) -> None:
    """By the code of the error."""
    text = ""
    try:
        connection.call(method, timeout=timeout)
    except SocketError as error:
        match error.code:
            case "TIMEOUT":
                text = "Call timed out"
            case "CONNECTION_LOST":
                text = "Connection lost, attempting reconnect..."
                connection.reconnect()
    assert text == expected
    assert connection.call("getUserProfile", "123") == {"name": "Ada"}


def test_custom_message_preparation(connection: Connection, server: Server) -> None:
    """Every message gets a sender."""
    heard = Collector()
    eventually(lambda: server.connections)
    server.connections[0].listen(heard)

    def prepare(message: Message, is_request: bool) -> Message:
        message.sender = "my-service"
        return message

    connection.prepare = prepare
    connection.notify("anything")
    [message] = heard.wait(1)
    assert message.sender == "my-service"
    assert message.dt is not None


def test_timeout_configuration(connection: Connection) -> None:
    """A default, and one for a call; the message says what it was."""
    connection.default_call_timeout = 30.0
    with pytest.raises(ResilientError) as failed:
        connection.call("longRunningOperation", timeout=0.05)
    assert (failed.value.code, "0.05 s" in failed.value.message) == ("TIMEOUT", True)
    assert "timeout" in failed.value.message


def test_connection_multiplexing(connection: Connection) -> None:
    """Several at once; each is fulfilled or rejected on its own."""
    futures = [
        connection.submit("operation", 1),
        connection.submit("getUserById", "999"),
        connection.submit("operation", 3),
    ]
    wait(futures, timeout=SECONDS)
    settled = [future.exception() or future.result() for future in futures]
    assert settled[0] == {"number": 1}
    assert isinstance(settled[1], ResilientError)
    assert settled[2] == {"number": 3}
