"""The commands of the REPL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import Connection
from .output import print_json, print_responses, print_status
from .repl_syntax import ReplSyntaxError


class ExitRepl(Exception):
    """The ``exit`` command."""


@dataclass(frozen=True)
class ReplCommand:
    """The syntax of one command.

    Attributes:
        usage: the command and its arguments, for help and errors.
        help: what the command does, in a few words.
        min_args: the least number of arguments.
        max_args: the greatest number of arguments; ``None`` for any number.
        completes: whether the first argument is a name that is remembered for completion.
    """

    usage: str
    help: str
    min_args: int = 0
    max_args: int | None = 0
    completes: bool = False


COMMANDS = {
    "call": ReplCommand("call METHOD [ARG]...", "call a method and print its result", 1, None, completes=True),
    "notify": ReplCommand("notify EVENT [PAYLOAD]", "send an event", 1, 2, completes=True),
    "request": ReplCommand("request PAYLOAD [LIMIT]", "print responses until none arrives for the timeout", 1, 2),
    "listen": ReplCommand("listen [EVENT [LIMIT]]", "print events until Ctrl-C", 0, 2, completes=True),
    "push": ReplCommand("push PAYLOAD [ID]", "put a message on the queue of the peer", 1, 2),
    "pull": ReplCommand("pull", "print the messages on our queue"),
    "ping": ReplCommand("ping", "print the round trip time in ms"),
    "stats": ReplCommand("stats", "print the counters of the connection"),
    "reconnect": ReplCommand("reconnect", "close the link and open a new one"),
    "timeout": ReplCommand("timeout [SECONDS]", "print or set the timeout of each answer", 0, 1),
    "help": ReplCommand("help", "list the commands"),
    "exit": ReplCommand("exit", "end the session (or Ctrl-D)"),
}


class ReplSession:
    """Executes commands on one connection.

    Args:
        connection: the open connection.
        timeout: seconds to wait for each answer; the command ``timeout`` changes it.
        seen: the set that remembers the names of methods and events, for completion.
    """

    def __init__(self, connection: Connection, timeout: float, seen: set[str]) -> None:
        self._connection = connection
        self._seconds = timeout
        self._seen = seen
        self._functions: dict[str, Callable[..., None]] = {name: getattr(self, f"_{name}") for name in COMMANDS}

    def execute(self, args: list[Any]) -> None:
        """Execute one line.

        Args:
            args: the words of the line: the name of the command, and its arguments.

        Raises:
            ReplSyntaxError: the command is unknown, or its arguments are wrong.
            ExitRepl: the command is ``exit``.
        """
        name, *rest = args
        command = COMMANDS.get(name) if isinstance(name, str) else None
        if command is None:
            raise ReplSyntaxError(f"unknown command {name!r}; the commands are {', '.join(COMMANDS)}")
        if len(rest) < command.min_args or (command.max_args is not None and len(rest) > command.max_args):
            raise ReplSyntaxError(f"usage: {command.usage}")
        if command.completes and rest and not isinstance(rest[0], str):
            raise ReplSyntaxError(f"the name must be text, not {rest[0]!r}; usage: {command.usage}")
        # A name with control characters would steer the terminal when it is completed.
        if command.completes and rest and rest[0].isprintable():
            self._seen.add(rest[0])
        self._functions[name](*rest)

    def _call(self, method: str, *arguments: Any) -> None:
        print_json(self._connection.call(method, *arguments, timeout=self._seconds))

    def _notify(self, event: str, payload: Any = None) -> None:
        # `notify` and `enqueue` have no timeout of their own; while reconnecting they wait for the link.
        with self._connection.deadline(self._seconds):
            self._connection.notify(event, payload)

    def _request(self, payload: Any, limit: Any = None) -> None:
        limit = _parse_limit(limit)
        with self._connection.stream(payload, timeout=self._seconds) as responses:
            print_responses(responses, limit)

    def _listen(self, event: str = "*", limit: Any = None) -> None:
        with self._connection.events(event, limit=_parse_limit(limit)) as events:
            for message in events:
                self._seen.add(message.event)
                print_json({"event": message.event, "payload": message.payload})

    def _push(self, payload: Any, id: Any = None) -> None:
        with self._connection.deadline(self._seconds):
            # An id such as 7 was parsed as JSON; on the wire, ids are text.
            self._connection.enqueue(payload, None if id is None else str(id))

    def _pull(self) -> None:
        while (message := self._connection.consume()) is not None:
            print_json({"payload": message.payload, "id": message.id})

    def _ping(self) -> None:
        print_json(round(self._connection.ping(self._seconds) * 1000, 3))

    def _stats(self) -> None:
        stats = self._connection.stats
        print_json({name: getattr(stats, name) for name in stats.__dataclass_fields__})

    def _reconnect(self) -> None:
        self._connection.reconnect()
        self._connection.wait_open(self._seconds)

    def _timeout(self, seconds: Any = None) -> None:
        if seconds is None:
            return print_json(self._seconds)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
            raise ReplSyntaxError("the timeout must be a number of seconds greater than 0")
        self._seconds = float(seconds)
        return None

    def _help(self) -> None:
        for command in COMMANDS.values():
            print_status(f"{command.usage:<26}{command.help}")

    def _exit(self) -> None:
        raise ExitRepl


def _parse_limit(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ReplSyntaxError("the limit must be a whole number, 1 or more")
    return value
