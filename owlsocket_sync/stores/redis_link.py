"""`StoreLink`: the scripts of the queues of one store, with waits for replicas and for messages.

Threads: any; see `owlsocket_sync.redis.link`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from ..deadline import Deadline
from ..errors import StoreError, StoreFull
from ..redis.client import ERRORS, exceptions
from ..redis.link import RedisLink, Script, evaluate

WAIT_TIMEOUT = 1.0
"""Seconds for which one try waits for the replicas."""


class _ReplicasBehind(exceptions.ConnectionError):
    """The replicas did not confirm a write in time, and may later."""


class StoreLink(RedisLink):
    """The link of one store to its Redis.

    Args:
        url_or_client: where Redis is.
        replicas: how many replicas have to confirm a durable write.
    """

    what = "the store"
    error_class = StoreError

    def __init__(self, url_or_client: Any, replicas: int) -> None:
        super().__init__(url_or_client, "RedisStore")
        if replicas and not hasattr(self.client, "connection_pool"):
            raise ValueError("replicas needs a client of one server: WAIT is about the writes of one connection")
        self._replicas = replicas

    def run(
        self,
        script: Script,
        keys: Sequence[bytes],
        common: Callable[[], Sequence[Any]],
        arguments: Sequence[Any],
        deadline: Deadline | None = None,
        durable: bool = False,
        closing: bool = False,
    ) -> Any:
        """Run a script, and return its reply.

        Args:
            script: the script.
            keys: of the queue.
            common: returns the first arguments of a try, but for the last of them: whether it is a repetition.
            arguments: all others.
            deadline: until which it is tried; `PATIENCE` seconds if that is longer.
            durable: wait for the replicas.
            closing: run it once, though the store is closed.
        """
        tries = 0

        def attempt() -> Any:
            nonlocal tries
            tries += 1
            parts = (len(keys), *keys, *common(), int(tries > 1), *arguments)
            if not (durable and self._replicas > 0):
                return self.evaluate(script, *parts)
            return evaluate(partial(self._confirmed, self.client), script, parts)

        if not closing:
            return self.patiently(attempt, deadline)
        try:
            return attempt()
        except ERRORS as error:
            raise self.translated(error) from error
        finally:
            self.close_if_closed()

    def _confirmed(self, client: Any, *words: Any) -> Any:
        # In one pipeline: WAIT is about the writes of its own connection.
        with self.whole_answers(), client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*words)
            pipeline.execute_command("WAIT", self._replicas, int(WAIT_TIMEOUT * 1000))
            reply, confirmations = pipeline.execute()
        if confirmations < self._replicas:
            raise _ReplicasBehind(
                f"it is stored, but only {confirmations} of {self._replicas} replicas have confirmed it"
            )
        return reply

    def await_item(self, key: bytes, seconds: float) -> None:
        """Take an item from a list, or wait for one for so many seconds."""
        # Redis takes 0 for no limit.
        self._wait("BLPOP", key, max(0.002, round(seconds, 3)))

    def _wait(self, *words: Any) -> None:
        self.check_open()
        try:
            self.run_command(*words)
        except ERRORS as error:
            # After an outage the command that follows waits for Redis, and reports.
            if not self.passes(error):
                raise self.translated(error) from error
        finally:
            self.close_if_closed()

    def translated(self, error: Exception) -> StoreError:
        """Return an error of stores for one of redis-py."""
        text = self.text(error)
        # Within a script the error of a full memory is a text.
        is_full = isinstance(error, exceptions.OutOfMemoryError) or "used memory > 'maxmemory'" in text
        kind = StoreFull if is_full else StoreError
        return kind(f"{self.place}: {text}")
