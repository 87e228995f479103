"""``flask owlsocket ping|call|listen``: talk to the services of an app, as they are configured.

Results are JSON on stdout, one line each; everything else is on stderr. Exit codes are those of ``owlsocket``: 0 ok, 1
the peer answered with an error, 2 usage, 3 no connection, 4 timeout, 5 authentication, 130 interrupted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from flask import current_app
from flask.cli import AppGroup

from ...connection import Connection
from ...errors import ConfigError, ResilientError, SocketConnectionError
from ...protocol.events import EventStream
from .configuration import DEFAULT
from .services import AppState
from .verbs import EXTENSION

REMOTE_ERROR, USAGE, NO_CONNECTION, TIMEOUT, AUTHENTICATION, INTERRUPTED = 1, 2, 3, 4, 5, 130

_BY_CODE = {
    "TIMEOUT": TIMEOUT,
    "AUTH_FAILED": AUTHENTICATION,
    "CONNECTION_LOST": NO_CONNECTION,
    "INITIALIZATION": NO_CONNECTION,
    "MALFORMED": USAGE,
    "MESSAGE": USAGE,
}


class Failed(click.ClickException):
    """One line on stderr, and an exit code."""

    def __init__(self, error: BaseException | str, code: int) -> None:
        text = str(error) or type(error).__name__
        if isinstance(error, ResilientError) and not error.remote:
            text = text.removeprefix(getattr(error, "prefix", ""))
        super().__init__("".join(one if one.isprintable() else f"\\u{ord(one):04x}" for one in text))
        self.exit_code = code  # type: ignore[misc]


def commands() -> AppGroup:
    """The group, for ``app.cli``."""
    group = AppGroup("owlsocket", help="Talk to the OwlMeans servers of this app.")
    for function in (ping, call, listen):
        group.add_command(function)
    return group


def _command(function: Callable[..., Any]) -> click.Command:
    """A command of the group; it gets the connection of a service, open, and the events that it is about, from the
    first one on."""

    def run(service: str, timeout: float | None, **values: Any) -> None:
        asked: list[Any] = []

        def ask(connection: Connection) -> None:
            if "event" in values:
                asked.append(connection.events(values["event"], limit=values["limit"]))

        with _outcomes(), _connected(service, timeout, ask) as connection:
            function(connection, *asked, **values)

    run.__doc__, run.__name__ = function.__doc__, function.__name__
    run.__dict__["__click_params__"] = function.__dict__.get("__click_params__", [])
    for option in (
        click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to connect, and then for each answer."),
        click.option("--service", default=DEFAULT, metavar="NAME", help="One of OWLSOCKET_SERVICES."),
    ):
        run = option(run)
    settings = {"ignore_unknown_options": True} if function.__name__ == "call" else {}  # negative numbers
    return AppGroup("owlsocket").command(function.__name__, context_settings=settings)(run)


@contextmanager
def _connected(service: str, timeout: float | None, before: Callable[[Connection], object]) -> Iterator[Connection]:
    """A connection of its own, with the app's handlers, which makes one attempt and does not come back."""
    state: AppState = current_app.extensions[EXTENSION]
    changes: dict[str, Any] = {"reconnect": None, "before": before}
    if timeout is not None:
        changes.update(timeout=timeout, call_timeout=timeout)
    source = state.make_service(service, **changes)
    try:
        try:
            connection = source.connection
        except ValueError as error:
            raise Failed(error, USAGE) from error
        yield connection
    finally:
        source.close()


@contextmanager
def _outcomes() -> Iterator[None]:
    """Turn what goes wrong inside into its exit code."""
    try:
        yield
    except KeyboardInterrupt:
        raise Failed("interrupted", INTERRUPTED) from None
    except BrokenPipeError:  # whoever read our stdout has enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ConfigError as error:
        raise Failed(error, USAGE if not error.remote else REMOTE_ERROR) from error
    except ResilientError as error:
        code = _BY_CODE.get(error.code, REMOTE_ERROR)
        raise Failed(error, code if code == AUTHENTICATION or not error.remote else REMOTE_ERROR) from error
    except OSError as error:
        raise Failed(error, NO_CONNECTION) from error


def _put(value: Any) -> None:
    """One line of JSON on stdout, in ASCII, which no terminal misunderstands."""
    click.echo(json.dumps(value).replace("\x7f", "\\u007f"))


def _read(text: str) -> Any:
    """An argument as JSON, or as text where it is no JSON."""
    try:
        return json.loads(text, parse_constant=_no_json)
    except (ValueError, RecursionError):
        return text


def _no_json(text: str) -> Any:
    raise ValueError(f"{text} is no JSON")


@_command
@click.option("-c", "--count", type=click.IntRange(min=1), default=1, show_default=True, help="How many.")
def ping(connection: Connection, count: int) -> None:
    """Print the seconds of a round trip."""
    for _ in range(count):
        _put(connection.ping())


@_command
@click.argument("method")
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
def call(connection: Connection, method: str, arguments: tuple[str, ...]) -> None:
    """Call METHOD and print its result.

    Each ARG is JSON, or text where it is no JSON.
    """
    _put(connection.call(method, *map(_read, arguments)))


@_command
@click.argument("event", default="*")
@click.option("--limit", type=click.IntRange(min=1), help="End after so many events.")
def listen(connection: Connection, events: EventStream, event: str, limit: int | None) -> None:
    """Print each EVENT (default: all) as {"event": ..., "payload": ...}.

    Ends with exit code 0 after --limit events, 130 when it is interrupted, 3 when the connection ends before.
    """
    came = 0
    for message in events:
        _put({"event": message.event, "payload": message.payload})
        came += 1
    if came != limit:
        ending = connection.wait_closed()
        raise SocketConnectionError(f"the connection ended: {ending.code} {ending.reason}".strip())
