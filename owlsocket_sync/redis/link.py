"""`RedisLink`: actions on a Redis, each tried again while Redis does not answer, and its errors as ours.

A command whose answer was lost may have been done. So redis-py, which would send it again without a word, repeats
nothing: the link does, and its user tells Redis which command is a repetition.

Threads: any. The connections are redis-py's, one for each thread that uses one at the same time; each process has its
own. A thread is freed by an answer, by the timeout of its socket, or by its deadline.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha1
from typing import Any, TypeVar

from ..deadline import Deadline
from ..errors import SocketError
from ..errors.safe_text import logger, safe_str
from ..fork import PerProcess, ensure_process, register
from ..urls import redact_text, secrets_of
from .client import (
    ERRORS,
    OUTAGES,
    REFUSALS,
    SOCKET_TIMEOUT,
    check_client,
    close_idle,
    exceptions,
    leave_connections,
    make_client,
    place_of,
)

Result = TypeVar("Result")

PATIENCE = 10.0
"""Seconds for which an action is tried while Redis does not answer."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two tries: the first and the last ones."""


class Script:
    """A Lua script.

    Args:
        text: its source.

    Attributes:
        text: the source.
        digest: by which Redis knows it once it has seen it.
    """

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.digest = sha1(self.text, usedforsecurity=False).hexdigest()


class RedisLink:
    """The link of one object to its Redis.

    Args:
        url_or_client: where Redis is.
        owner: the class of the object, for errors.

    Attributes:
        place: where Redis is, without secrets.
        read_timeout: seconds for which a client waits for an answer.
        closed: true once the object is closed.
        stop: set once it is closed.
    """

    what = "the object"
    """Is closed, in the error of a use after that."""
    error_class: type[SocketError] = SocketError
    """Of the errors."""

    def __init__(self, url_or_client: Any, owner: str) -> None:
        self._is_own = isinstance(url_or_client, str)
        self._is_checked = False
        self.closed = False
        self._clients: list[Any] = []
        self._begin()
        if self._is_own:
            url = str(url_or_client)
            self.place = place_of(url)
            self._secrets: list[str] = secrets_of(url)
            self._client = PerProcess(lambda: self._make(url))
            client = make_client(url)  # which opens no connection, and refuses a wrong URL now
        else:
            client = url_or_client
            self.place = f"the Redis of {type(client).__name__}"
            self._secrets = []
            self._client = PerProcess(lambda: client)
        check_client(client, owner)
        options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
        self.read_timeout = float(options.get("socket_timeout") or SOCKET_TIMEOUT)
        self._note_secrets(options)
        register(self)

    def _make(self, url: str) -> Any:
        client = make_client(url)
        self._clients.append(client)
        return client

    def _note_secrets(self, options: Mapping[str, Any]) -> None:
        self._secrets += [str(options[key]) for key in ("password",) if options.get(key)]
        if not self._is_own and options.get("host"):
            self.place = f"redis://{options['host']}:{options.get('port')}/{options.get('db') or 0}"

    def after_fork(self) -> None:
        """Leave the connections of the parent, from which a green thread may read still."""
        while self._clients:
            leave_connections(self._clients.pop())
        self._begin()

    def _begin(self) -> None:
        self.stop = threading.Event()
        # An item while Redis answers. The thread that takes it reports the outage: once, without a lock.
        self._answers: deque[None] = deque([None], 1)

    # -- use ---------------------------------------------------------------------------------------------------------

    @property
    def client(self) -> Any:
        """The client of this process."""
        return self._client.get()

    def command(self, *words: Any) -> Any:
        """Run one command that may be repeated, and return its reply."""
        return self.patiently(lambda: self.run_command(*words), None)

    def evaluate(self, script: Script, *parts: Any) -> Any:
        """Run a script once, and return its reply.

        Args:
            script: the script.
            *parts: the number of keys, the keys, and the arguments.
        """
        return evaluate(self.run_command, script, parts)

    def run_command(self, *words: Any) -> Any:
        """Run one command, and return its reply."""
        with self.whole_answers():
            return self.client.execute_command(*words)

    @contextmanager
    def whole_answers(self) -> Iterator[None]:
        """Close the connections that no thread uses where an interrupt ends a command, or a replica refuses it.

        One of them may be about to get the answer to that command, which the next user would take for its own.
        """
        try:
            yield
        except exceptions.ReadOnlyError:
            # Another server has taken over, perhaps by the same name: the next try looks where that leads to.
            close_idle(self.client)
            raise
        except ERRORS:
            raise
        except BaseException:
            close_idle(self.client)
            raise

    def patiently(
        self, action: Callable[[], Result], deadline: Deadline | None, patience: float | None = None
    ) -> Result:
        """Try an action until Redis answers, and return its result.

        Args:
            action: gives commands.
            deadline: until when it is tried, at least.
            patience: seconds for which it is tried in any case; `PATIENCE` if not given.
        """
        end = Deadline(PATIENCE if patience is None else patience)
        if deadline is not None and deadline.at > end.at:
            end = deadline
        pause = FIRST_PAUSE
        while True:
            self.check_open()
            try:
                result = action()
            except ERRORS as error:
                if not self.passes(error) or end.remaining() <= pause:
                    raise self.translated(error) from error
                self.report(error)
            else:
                self.note_answer()
                return result
            finally:
                self.close_if_closed()
            self.stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def check_open(self) -> None:
        """Raise once the object is closed."""
        ensure_process()
        if self.closed:
            raise self.closed_error()

    def closed_error(self) -> SocketError:
        """Return the error of a use after the end."""
        return self.error_class(f"{self.what} is closed")

    def check_policy(self) -> None:
        """Warn, once, of a Redis that would throw data away when its memory is full."""
        if self._is_checked:
            return
        self._is_checked = True
        # Of a cluster it is an answer for each server, and some services refuse the question.
        memory = self.patiently(self._ask_policy, None)
        policy = memory.get("maxmemory_policy", "noeviction") if isinstance(memory, dict) else "noeviction"
        if str(policy) != "noeviction" and memory.get("maxmemory"):
            logger.warning(
                "%s has the maxmemory-policy %s: it deletes messages when its memory is full; set noeviction",
                self.place,
                policy,
            )

    def _ask_policy(self) -> Any:
        try:
            return self.run_command("INFO", "memory")
        except exceptions.ResponseError:
            return None

    # -- errors ------------------------------------------------------------------------------------------------------

    def passes(self, error: Exception) -> bool:
        """Return whether to try again after an error."""
        # BUSY: a script of some program takes more than five seconds.
        return (isinstance(error, OUTAGES) and not isinstance(error, REFUSALS)) or str(error).startswith("BUSY")

    def note_answer(self) -> None:
        """Note that Redis answers, and report it where it did not."""
        if not self._answers:
            self._answers.append(None)
            logger.warning("%s answers again", self.place)

    def report(self, error: Exception) -> None:
        """Report an outage, once."""
        try:
            self._answers.pop()
        except IndexError:
            return  # it was reported
        logger.error("%s does not answer, and is tried again: %s", self.place, self.text(error))

    def text(self, error: Exception) -> str:
        """Return the text of an error, without secrets."""
        return redact_text(safe_str(error), *self._secrets) or type(error).__name__

    def translated(self, error: Exception) -> SocketError:
        """Return an error of ours for one of redis-py."""
        return self.error_class(f"{self.place}: {self.text(error)}")

    # -- the end -----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections, and free the threads that use them."""
        self.closed = True
        self.stop.set()
        self.close_if_closed()

    def close_if_closed(self) -> None:
        """Close the connections that no thread uses; each thread does so with its own once the link is closed."""
        client = self._client.peek()
        if self.closed and self._is_own and client is not None:
            close_idle(client)


def evaluate(run: Callable[..., Any], script: Script, parts: Sequence[Any]) -> Any:
    """Run a script by its digest, or by its text where Redis does not know it."""
    try:
        return run("EVALSHA", script.digest, *parts)
    except exceptions.NoScriptError:
        return run("EVAL", script.text, *parts)
