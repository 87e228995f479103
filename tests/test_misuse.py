"""Mistakes of a program: each is reported where it is made, by a sentence that names the argument and the remedy."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import AsyncIterator, Callable, Iterator
from enum import Enum
from functools import partial, wraps
from typing import Any, Protocol
from unittest.mock import Mock

import pytest

from owlsocket_sync import Connection, SocketConnectionError, SocketMessageMalformed, connect
from owlsocket_sync.client_options import ClientOptions
from owlsocket_sync.server import serve
from support.handlers import echo
from support.pair import RecordingCarrier, make_pair
from support.sockets import ByteServer, RawPeer


class Prices(Protocol):
    """An interface of a peer."""

    def price(self, dish: str) -> int:
        """Return the price."""


@pytest.fixture
def conn() -> Connection:
    """Return an end whose peer answers nothing."""
    left, *_ = make_pair()
    return left


def handler(*payload: Any) -> None:
    """Stand for a handler."""


async def coroutine(*payload: Any) -> None:
    """Stand for a handler of an asyncio program."""


def generator(*payload: Any) -> Iterator[None]:
    """Stand for a handler that yields its results."""
    yield


async def async_generator(*payload: Any) -> AsyncIterator[None]:
    """Stand for one of an asyncio program."""
    yield


def nothing() -> None:
    """Stand for a handler that forgot its argument."""


def handler_of_one(first: Any) -> None:
    """Stand for a handler of one argument."""


def handler_of_two(first: Any, second: Any) -> None:
    """Stand for a handler of two arguments."""


def keyword(*, x: int) -> None:
    """Stand for a handler that no call can reach."""


class Coroutine:
    """An object that is called like a coroutine function."""

    async def __call__(self, *payload: Any) -> None:
        """Do nothing."""


class Async:
    """An object of an asyncio program."""

    async def work(self) -> None:
        """Do nothing."""


class Dish(Enum):
    """Names that are not text."""

    PIE = "pie"


MISTAKES: list[tuple[Callable[[Any], Any], str]] = [
    # A bare @conn.perform or @conn.observe would be a decorator that registers nothing.
    (lambda conn: conn.perform(handler), r'perform needs a name, as in perform\("name"\), not function'),
    (lambda conn: conn.perform(5, handler), "perform needs a name"),
    (lambda conn: conn.observe(handler), r'observe needs a name, as in observe\("name"\), not function'),
    (lambda conn: conn.events(5), "events needs a name"),
    # A worker would drop the coroutine, and its body would never run.
    (
        lambda conn: conn.perform("m", coroutine),
        "the handler of 'm' must not be an async function: it runs on a thread",
    ),
    (lambda conn: conn.perform("m", stage="init")(coroutine), "the handler of 'm' must not be an async function"),
    (lambda conn: conn.observe("e", coroutine), "the handler of 'e' must not be an async function"),
    (lambda conn: conn.observe("e", payload_type=int)(coroutine), "the handler of 'e' must not be an async function"),
    (lambda conn: conn.acknowledge(coroutine), "the handler must not be an async function"),
    (lambda conn: conn.request(1, coroutine), "the observer of a request must not be an async function"),
    (lambda conn: conn.observe(Dish.PIE, handler), "not Dish, write Dish.PIE.value"),
    (lambda conn: conn.perform(None, handler), "perform needs a name"),
    # Its body would not run, or run at the first item of a list that nothing iterates over.
    (lambda conn: conn.perform("m", generator), "the handler of 'm' must not be a generator function"),
    (lambda conn: conn.observe("e", generator), "the handler of 'e' must not be a generator function"),
    (lambda conn: conn.perform("m", async_generator), "the handler of 'm' must not be a generator function"),
    (lambda conn: conn.perform("m", Coroutine()), "the handler of 'm' must not be an async function"),
    (lambda conn: conn.perform("m", partial(coroutine, 1)), "the handler of 'm' must not be an async function"),
    (lambda conn: conn.expose(Async()), "the method 'work' must not be an async function"),
    (lambda conn: conn.on_state(coroutine), "the handler must not be an async function"),
    (lambda conn: conn.observe_response(coroutine), "the handler must not be an async function"),
    (lambda conn: setattr(conn, "authenticate", coroutine), "the hook authenticate must not be an async function"),
    (lambda conn: setattr(conn, "prepare", coroutine), "the hook prepare must not be an async function"),
    (lambda conn: conn.consume(coroutine), "filter must not be an async function"),
    # It would raise at each message, and be reported far away from here.
    (
        lambda conn: conn.observe("e", nothing),
        r"the handler of 'e' cannot take its arguments, too many positional arguments: write def handler\(message\)",
    ),
    (lambda conn: conn.observe("e", handler_of_two), r"missing a required argument: 'second': write def handler\(mess"),
    (
        lambda conn: conn.perform("m", keyword),
        "'m' must have positional parameters, not keyword-only: x",
    ),
    (lambda conn: conn.acknowledge(handler_of_one), r"write def handler\(id, payload\)"),
    (lambda conn: conn.request(1, nothing), r"write def handler\(payload\)"),
    (lambda conn: conn.observe_response(nothing), r"write def handler\(payload\)"),
    (lambda conn: conn.listen(nothing), r"write def handler\(message\)"),
    (lambda conn: conn.on_state(nothing), r"write def handler\(change\)"),
    (lambda conn: conn.on_error(handler_of_one), r"write def handler\(error, context\)"),
    (lambda conn: setattr(conn, "authenticate", handler_of_one), r"write def handler\(stage, payload\)"),
    (lambda conn: setattr(conn, "prepare", handler_of_one), r"write def handler\(message, is_request\)"),
    (lambda conn: conn.messages(nothing), r"write def handler\(payload\)"),
    (lambda conn: conn.listen(None), "^the handler must be callable, not NoneType$"),
    (lambda conn: conn.on_error("x"), "^the handler must be callable, not str$"),
    (lambda conn: conn.close(reason=5), "reason must be text, not int"),
    (lambda conn: conn.events("e", limit="2"), "limit must be a number or None, not '2'"),
    (lambda conn: conn.messages(limit="2"), "limit must be a number or None, not '2'"),
    (lambda conn: conn.messages(5), "filter must be callable, not int"),
    (lambda conn: conn.consume(5), "filter must be callable, not int"),
    (lambda conn: conn.send({"type": "event"}), "message must be a Message or text, not dict"),
    (lambda conn: conn.receive({"type": "event"}), "text must be text or bytes, not dict"),
    (lambda conn: conn.proxy("Prices"), "interface must be a class, not str"),
    (lambda conn: conn.proxy(Prices).price(), r"price\(\): missing a required argument: 'dish'"),
    (lambda conn: conn.call("echo", 1, result_type="int"), "'int' is neither a type nor a callable"),
    (lambda conn: conn.submit("echo", 1, result_type="int"), "'int' is neither a type nor a callable"),
    (
        lambda conn: conn.call("echo", 1, result_type=coroutine),
        "coroutine, which converts payloads, must not be",
    ),
    (lambda conn: conn.observe("e", handler, payload_type=generator), "payloads, must not be a generator function"),
    (lambda conn: conn.notify(5), "event must be text, not int"),
    (pickle.dumps, r"a Connection cannot be pickled or copied: call connect\(\) in the process that uses it"),
    (copy.copy, "a Connection cannot be pickled or copied"),
]


@pytest.mark.parametrize(("mistake", "words"), MISTAKES, ids=[words[:40] for _, words in MISTAKES])
def test_a_mistake_raises_where_it_is_made(conn: Connection, mistake: Callable[[Any], Any], words: str) -> None:
    """Not later, in a thread that the program does not see."""
    with pytest.raises(TypeError, match=words):
        mistake(conn)


PATTERNS: list[Callable[[Connection], Any]] = [
    lambda conn: conn.observe("tick*", handler),
    lambda conn: conn.observe("tick*")(handler),
    lambda conn: conn.events("*tick"),
    lambda conn: conn.perform("tick*", handler),
    lambda conn: conn.perform("*", handler),
]


@pytest.mark.parametrize("register", PATTERNS)
def test_a_name_is_not_a_pattern(conn: Connection, register: Callable[[Connection], Any]) -> None:
    """It would match nothing, without a word; one star alone observes all events."""
    with pytest.raises(ValueError, match="names are exact, and not patterns"):
        register(conn)
    conn.observe("*", handler)


FITTING: list[Callable[..., Any]] = [
    handler,
    handler_of_one,
    lambda message, more=1: None,
    [].append,
    print,
    bool,
    partial(handler_of_two, 1),
    wraps(nothing)(handler),
    Mock(),
]


@pytest.mark.parametrize("fitting", FITTING)
def test_whatever_can_take_the_arguments_may_be_a_handler(conn: Connection, fitting: Callable[..., Any]) -> None:
    """Also what does not say what it takes, and a decorator that passes other arguments on."""
    conn.observe("e", fitting)
    conn.listen(fitting)
    conn.perform("m", fitting)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"auth": coroutine}, "auth must not be an async function"),
        ({"auth": nothing}, r"auth cannot take its arguments, .*: write def handler\(conn\)"),
        ({"setup": coroutine}, "setup must not be an async function"),
        ({"setup": handler_of_two}, r"setup cannot take its arguments, .*: write def handler\(conn\)"),
        ({"token": coroutine}, "token must not be an async function"),
        ({"token": handler_of_one}, r"token cannot take its arguments, .*: write def handler\(\)"),
        ({"url": coroutine}, "url must not be an async function"),
    ],
)
def test_a_callable_of_connect_can_be_called(options: dict[str, Any], words: str) -> None:
    """A coroutine of ``auth`` would open the link without authentication."""
    with pytest.raises(ValueError, match=words):
        connect(**{"url": "ws://127.0.0.1:1", **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"handler": coroutine}, "handler must not be an async function"),
        ({"handler": generator}, "handler must not be a generator function"),
        ({"handler": handler_of_one}, r"handler cannot take its arguments, .*: write def handler\(conn, request\)"),
        ({"handler": None}, "handler must be callable, not NoneType"),
        ({"authenticate": coroutine}, "authenticate must not be an async function"),
        ({"authenticate": Coroutine()}, "authenticate must not be an async function"),
        ({"authenticate": nothing}, r"authenticate cannot take its arguments, .*: write def handler\(request\)"),
    ],
)
def test_a_callable_of_a_server_can_be_called(options: dict[str, Any], words: str) -> None:
    """A coroutine would register nothing for any client, and one of ``authenticate`` is no identity."""
    with pytest.raises(ValueError, match=words):
        serve(**{"handler": handler, **options})


def test_a_call_with_an_unusable_result_type_is_not_sent() -> None:
    """The peer would perform it in vain."""
    left, _, carrier, _ = make_pair()
    assert isinstance(carrier, RecordingCarrier)
    verbs: list[Any] = [left.call, left.submit]
    for verb in verbs:
        with pytest.raises(TypeError):
            verb("order", "pie", result_type="int")
    assert carrier.sent == []


def test_a_result_that_is_not_json_is_named_by_its_method() -> None:
    """Its id says nothing to the author of the handler, nor to the caller."""
    left, right, *_ = make_pair()
    right.on_error(lambda error, context: None)
    right.perform("thing", object)
    with pytest.raises(SocketMessageMalformed, match="the result of 'thing' cannot be sent as JSON: Type is not"):
        left.call("thing")


OPTIONS: list[tuple[dict[str, Any], str]] = [
    ({"url": None}, "url must be text such as 'wss://host/path', not NoneType"),
    ({"url": b"ws://127.0.0.1"}, "url must be text such as 'wss://host/path', not bytes"),
    ({"url": "http://127.0.0.1/ws"}, "url must start with ws:// or wss://: 'http://127.0.0.1/ws'"),
    ({"token": 5}, "token must be text or a callable, not int"),
    ({"query": "a=b"}, "query must be a dict or pairs of names and values, not str"),
    ({"headers": ["X-A: b"]}, "headers must be a dict, such as {'X-Name': 'value'}, not list"),
]


@pytest.mark.parametrize(("options", "words"), OPTIONS, ids=[words[:40] for _, words in OPTIONS])
def test_an_unusable_option_of_connect_is_named(options: dict[str, Any], words: str) -> None:
    """Before anything connects."""
    with pytest.raises(ValueError, match=re.escape(words)):
        connect(**{"url": "ws://127.0.0.1:1", **options})


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"time_out": 3}, "connect() got an unexpected keyword argument 'time_out': did you mean timeout=?"),
        ({"header": {}}, "connect() got an unexpected keyword argument 'header': did you mean headers=?"),
        (
            {"subprotocol": "v1"},
            "connect() got an unexpected keyword argument 'subprotocol': did you mean subprotocols=?",
        ),
        ({"qqq": 1}, "connect() got an unexpected keyword argument 'qqq': it has auth, call_timeout, "),
    ],
)
def test_an_unknown_option_leads_to_the_nearest_one(options: dict[str, Any], words: str) -> None:
    """And not to the source, to look for its name."""
    with pytest.raises(TypeError, match=re.escape(words)):
        connect("ws://127.0.0.1:1", **options)
    with pytest.raises(
        TypeError, match=re.escape("serve() got an unexpected keyword argument 'time_out': did you mean timeout=?")
    ):
        serve(echo, time_out=3)  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [("ws://127.0.0.1:1",), ()])
def test_a_connection_is_made_by_connect(arguments: tuple[Any, ...]) -> None:
    """The error says so, and names no argument that a user cannot know."""
    with pytest.raises(TypeError, match=re.escape("use connect(url), which returns one")):
        Connection(*arguments)
    with pytest.raises(TypeError, match=re.escape("use connect(url)")):
        Connection(url="ws://127.0.0.1:1")  # type: ignore[call-arg]


def test_a_connection_that_was_closed_says_by_whom() -> None:
    """And that it stays so: another try is of no use."""
    with serve(echo) as server:
        conn = connect(server.url, name="closed")
        conn.close()
        with pytest.raises(SocketConnectionError, match="closed is closed: this end closed it") as raised:
            conn.call("echo", 1)
    assert not raised.value.retryable


def test_tls_on_one_side_alone_is_named() -> None:
    """The words of OpenSSL, and a reset by the server, do not say it."""
    with (
        serve(echo) as server,
        pytest.raises(SocketConnectionError, match="does not speak TLS on this port"),
    ):
        connect(server.url.replace("ws:", "wss:"), reconnect=None)
    with (
        ByteServer(RawPeer.read_header) as server_that_hangs_up,
        pytest.raises(SocketConnectionError, match=r"WebSocket handshake: no response \(use wss:// if the"),
    ):
        connect(server_that_hangs_up.url, reconnect=None)


def test_a_server_that_hangs_up_on_tls_is_explained() -> None:
    """As most servers without TLS do, and some that want another certificate."""
    with (
        ByteServer(lambda peer: peer.read(1)) as server,
        pytest.raises(
            SocketConnectionError, match="may not speak TLS on this port, or require another client"
        ) as raised,
    ):
        connect(server.url.replace("ws:", "wss:"), reconnect=None)
    assert raised.value.retryable


TLS = re.escape(" (the server may require TLS: try wss://)")


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("<title>400 Bad Request</title>", ""),
        ("<title>\nBad request </title>", ""),
        ("<TITLE>400 No required SSL\n certificate was sent</TITLE>", ": No required SSL certificate was sent"),
        ("<title>4000 owls</title>", ": 4000 owls"),
        ("<h1>Bad</h1>", ""),
        ("<title>", ""),
    ],
)
def test_of_a_page_in_html_the_title_is_shown(title: str, shown: str) -> None:
    """Where it says more than the status."""

    def refuse(peer: RawPeer) -> None:
        peer.read_header()
        page = f"<!doctype html>\n{title}\n<p>More.".encode()
        peer.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(page), page))

    with ByteServer(refuse) as server, pytest.raises(SocketConnectionError, match=rf"with HTTP 400{shown or TLS}\Z"):
        connect(server.url, reconnect=None)


def test_a_broadcast_needs_the_name_of_an_event() -> None:
    """As `notify` does, whether or not a client is connected."""
    with serve(echo) as server, pytest.raises(TypeError, match="event must be text, not int"):
        server.broadcast(5)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [-1, -0.5, math.nan])
def test_a_limit_is_not_negative(conn: Connection, limit: Any) -> None:
    """A program that means "no limit" by -1 would otherwise receive nothing, without a word."""
    words = re.escape(f"limit must be 0 or more, or None for no limit, not {limit!r}")
    with pytest.raises(ValueError, match=words):
        conn.events("e", limit=limit)
    with pytest.raises(ValueError, match=words):
        conn.messages(limit=limit)


def test_a_timeout_of_none_is_the_default() -> None:
    """Everywhere, as in a call: no user has to repeat the number of the signature."""
    options = ClientOptions(url="ws://127.0.0.1:1", timeout=None, call_timeout=None)  # type: ignore[arg-type]
    assert (options.timeout, options.call_timeout) == (ClientOptions.timeout, ClientOptions.call_timeout)
    with serve(echo, timeout=None, call_timeout=None) as server:
        conn = connect(server.url, timeout=None, call_timeout=None)
        assert conn.default_call_timeout == ClientOptions.call_timeout
        conn.default_call_timeout = 5.0
        assert conn.call("echo", 1, timeout=None) == 1
        conn.drain(timeout=None)
        conn = connect(server.url)
        conn.close(timeout=None)
        assert conn.wait_closed(0).code == 1000
        server.close(timeout=None)
        assert server.wait(0)
