"""`ServerOptions`: one frozen value, validated when it is made."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError
from inspect import signature
from typing import Any

import pytest

from owlsocket_sync import connect
from owlsocket_sync.server import Request, Server, ServerOptions, serve
from support.handlers import echo


async def _async_authenticate(request: Request) -> str:
    """Stand in for a coroutine function."""
    return "Ada"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 0}, "workers must be a whole number, 1 or more, not 0"),
        ({"limits": 5}, "limits must be Limits, not 5"),
        ({"heartbeat": 5}, "heartbeat must be a Heartbeat or None, not 5"),
        ({"limits": None}, "limits must be Limits"),
        ({"compression": True}, "compression must be 'deflate', a Deflate or None, not True"),
        ({"heartbeat": "20"}, "heartbeat must be a Heartbeat or None, not str"),
        ({"ssl_context": True}, "ssl_context must be an SSLContext or None, not True"),
        ({"expose_tracebacks": "yes"}, "expose_tracebacks must be bool, not str"),
        ({"handler_context": 5}, "handler_context must be callable, not int"),
        ({"name": 5}, "name must be a str or None, not 5"),
        ({"origins": 5}, "origins must be a list of origins"),
        ({"origins": [b"https://a"]}, "origins must be a list of origins"),
        ({"workers": "4"}, "workers must be a whole number"),
        ({"timeout": "5"}, "timeout must be a number of seconds"),
        ({"origins": "https://a"}, "origins must be a list of origins, not a string"),
        ({"authenticate": _async_authenticate}, "authenticate must not be an async function"),
        ({"authenticate": 5}, "authenticate must be a Guard or a callable, not int"),
        ({"ssl_context": "cert.pem"}, "ssl_context must be an SSLContext or None, not str"),
        ({"timeout": -1}, "timeout must be a number of seconds"),
        ({"call_timeout": math.nan}, "call_timeout must be a number of seconds"),
    ],
)
def test_an_invalid_option_is_named(options: dict[str, Any], message: str) -> None:
    """Where the value is made, before any socket is."""
    with pytest.raises(ValueError, match=message):
        ServerOptions(**options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"host": 5}, "host must be str, not 5"),
        ({"host": None}, "host must be str"),
        ({"port": "80"}, "port must be a whole number"),
        ({"port": 65_536}, "port must be a whole number"),
        ({"port": True}, "port must be a whole number"),
    ],
)
def test_an_address_that_cannot_be_listened_on_is_named(arguments: dict[str, Any], message: str) -> None:
    """Before any socket is made."""
    with pytest.raises(ValueError, match=message):
        serve(echo, **arguments)


def test_options_are_a_frozen_value() -> None:
    """Equal by their fields, hashable, and independent of the list that they were made of."""
    origins = ["https://a.example"]
    options = ServerOptions(origins=origins, timeout=1e400)
    origins.append("https://b.example")
    assert options.origins == ("https://a.example",)
    assert options.timeout == math.inf
    assert options == ServerOptions(origins=("https://a.example",), timeout=math.inf)
    assert len({options, ServerOptions(origins=["https://a.example"], timeout=math.inf), ServerOptions()}) == 2
    with pytest.raises(FrozenInstanceError):
        options.workers = 5  # type: ignore[misc]


def test_serve_takes_the_options_by_name() -> None:
    """With the same defaults; the context of handlers belongs to servers that live inside a framework."""
    parameters = signature(serve).parameters
    fields = {name: parameter.default for name, parameter in signature(ServerOptions).parameters.items()}
    assert fields.pop("handler_context") is None
    assert {name: parameters[name].default for name in fields} == fields
    # "unknown" takes what `serve` refuses.
    assert set(parameters) - set(fields) == {"handler", "host", "port", "unknown"}


def test_a_server_is_made_of_options() -> None:
    """`Server` itself takes them as one value, and has defaults for all of them."""
    with Server(echo, options=ServerOptions(name="shop")) as server, connect(server.url) as conn:
        assert conn.call("echo", 1) == 1
        assert server.connections[0].name.startswith("shop#")
