"""What can be said in the REPL: each verb does one thing on the connection, and prints what came of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import Connection, SocketTimeout
from .outcome import put, say
from .sentence import Misspoken


class Done(Exception):
    """Nothing more is to be said."""


@dataclass(frozen=True)
class Verb:
    """One word that a line may begin with.

    Attributes:
        form: how it is written.
        meaning: what it does.
        least: how many words it needs.
        most: how many it takes; ``None`` for any number.
        names: whether the first of them is a name that is worth completing.
    """

    form: str
    meaning: str
    least: int = 0
    most: int | None = 0
    names: bool = False


VERBS = {
    "call": Verb("call METHOD [ARG]...", "call, and print the result", 1, None, names=True),
    "notify": Verb("notify EVENT [PAYLOAD]", "send an event", 1, 2, names=True),
    "request": Verb("request PAYLOAD [LIMIT]", "print responses, until none comes for the timeout", 1, 2),
    "listen": Verb("listen [EVENT [LIMIT]]", "print events as they come; Ctrl-C ends it", 0, 2, names=True),
    "push": Verb("push PAYLOAD [ID]", "put a message on the peer's queue", 1, 2),
    "pull": Verb("pull", "print the messages on our queue"),
    "ping": Verb("ping", "print the round trip in ms"),
    "stats": Verb("stats", "print what the connection has seen so far"),
    "reconnect": Verb("reconnect", "give up the link and make a new one"),
    "timeout": Verb("timeout [SECONDS]", "how long to wait for each answer", 0, 1),
    "help": Verb("help", "this"),
    "exit": Verb("exit", "end (Ctrl-D does, too)"),
}


class Talk:
    """Does what lines say.

    Args:
        connection: where.
        timeout: seconds to wait for each answer.
        seen: what was named is put there.
    """

    def __init__(self, connection: Connection, timeout: float, seen: set[str]) -> None:
        self._connection = connection
        self._seconds = timeout
        self._seen = seen
        self._answers: dict[str, Callable[..., None]] = {verb: getattr(self, f"_{verb}") for verb in VERBS}

    def say(self, words: list[Any]) -> None:
        """Do what one line says.

        Raises:
            Misspoken: it says nothing that can be done.
            Done: it says that this is the end.
        """
        verb, *rest = words
        rule = VERBS.get(verb) if isinstance(verb, str) else None
        if rule is None:
            raise Misspoken(f"{verb!r} is no verb; there are {', '.join(VERBS)}")
        if len(rest) < rule.least or (rule.most is not None and len(rest) > rule.most):
            raise Misspoken(f"write: {rule.form}")
        if rule.names and rest and not isinstance(rest[0], str):
            raise Misspoken(f"a name is needed, not {rest[0]!r}; write: {rule.form}")
        if rule.names and rest and rest[0].isprintable():
            self._seen.add(rest[0])
        self._answers[verb](*rest)

    def _call(self, method: str, *arguments: Any) -> None:
        put(self._connection.call(method, *arguments, timeout=self._seconds))

    def _notify(self, event: str, payload: Any = None) -> None:
        with self._connection.deadline(self._seconds):
            self._connection.notify(event, payload)

    def _request(self, payload: Any, limit: Any = None) -> None:
        limit, came = _limit(limit), 0
        with self._connection.stream(payload, timeout=self._seconds) as responses:
            try:
                for response in responses:
                    put(response)
                    came += 1
                    if came == limit:
                        return
            except SocketTimeout:
                if not came:
                    raise

    def _listen(self, event: str = "*", limit: Any = None) -> None:
        with self._connection.events(event, limit=_limit(limit)) as events:
            for message in events:
                self._seen.add(message.event)
                put({"event": message.event, "payload": message.payload})

    def _push(self, payload: Any, id: Any = None) -> None:
        with self._connection.deadline(self._seconds):
            self._connection.enqueue(payload, None if id is None else str(id))

    def _pull(self) -> None:
        while (message := self._connection.consume()) is not None:
            put({"payload": message.payload, "id": message.id})

    def _ping(self) -> None:
        put(round(self._connection.ping(self._seconds) * 1000, 3))

    def _stats(self) -> None:
        stats = self._connection.stats
        put({name: getattr(stats, name) for name in stats.__dataclass_fields__})

    def _reconnect(self) -> None:
        self._connection.reconnect()
        self._connection.wait_open(self._seconds)

    def _timeout(self, seconds: Any = None) -> None:
        if seconds is None:
            return put(self._seconds)
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or seconds <= 0:
            raise Misspoken("the timeout is a number of seconds, more than 0")
        self._seconds = float(seconds)
        return None

    def _help(self) -> None:
        for verb in VERBS.values():
            say(f"{verb.form:<26}{verb.meaning}")

    def _exit(self) -> None:
        raise Done


def _limit(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise Misspoken("a limit is a whole number, 1 or more")
    return value
