"""`RedisLink`: commands to Redis, each tried again while Redis does not answer, and its errors as `StoreError`.

A command whose answer was lost may have been done. So redis-py, which would send it again without a word, repeats
nothing: the link does, and tells the script that it is a repetition.

Threads: any. The connections are redis-py's, one for each thread that uses one at the same time; each process has its
own. A thread is freed by an answer, by the timeout of its socket, or by its deadline.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..deadline import Deadline
from ..errors import MissingExtra, StoreError, StoreFull
from ..errors.safe_text import logger, safe_str
from ..fork import PerProcess, ensure_process
from ..urls import redact, redact_text, secrets_of
from .redis_tools import Script

try:
    import redis
    from redis import exceptions as redis_errors
    from redis.backoff import NoBackoff
    from redis.retry import Retry
except ImportError as error:
    raise MissingExtra(
        "RedisStore needs the package redis: python -m pip install 'owlsocket-sync[redis]'", error.name
    ) from error

Result = TypeVar("Result")

CONNECT_TIMEOUT = SOCKET_TIMEOUT = 5.0
MAX_CONNECTIONS = 10_000
PATIENCE = 10.0
"""Seconds for which a command is tried while Redis does not answer."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two tries: the first and the last ones."""
WAIT_TIMEOUT = 1.0
"""Seconds for which one try waits for the replicas."""

OUTAGES = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ReadOnlyError,
    redis_errors.ClusterDownError,
    redis_errors.TryAgainError,
)
"""Errors that pass: Redis restarts, loads its data, or another server takes over."""
REFUSALS = (redis_errors.AuthenticationError, redis_errors.AuthorizationError, redis_errors.MaxConnectionsError)
"""Errors of the same classes that do not pass."""


class _ReplicasBehind(Exception):
    """The replicas did not confirm a write in time."""


class RedisLink:
    """The link of one store to its Redis.

    Args:
        url_or_client: where Redis is.
        replicas: how many replicas have to confirm a durable write.

    Attributes:
        place: where Redis is, without secrets.
        closed: true once the store is closed.
    """

    def __init__(self, url_or_client: Any, replicas: int) -> None:
        self._replicas = replicas
        self._is_own = isinstance(url_or_client, str)
        self._stop = threading.Event()
        self._is_checked = False
        self.closed = False
        # An item while Redis answers. The thread that takes it reports the outage: once, without a lock.
        self._answers: deque[None] = deque([None], 1)
        if self._is_own:
            url = str(url_or_client)
            self.place = redact(url)
            self._secrets: list[str] = secrets_of(url)
            self._client = PerProcess(lambda: make_client(url))
            self._note_secrets(make_client(url))  # which opens no connection, and refuses a wrong URL now
        else:
            check_client(url_or_client)
            if replicas and not hasattr(url_or_client, "connection_pool"):
                raise ValueError("replicas needs a client of one server: WAIT is about the writes of one connection")
            self.place = f"the Redis of {type(url_or_client).__name__}"
            self._secrets = []
            self._client = PerProcess(lambda: url_or_client)
            self._note_secrets(url_or_client)

    def _note_secrets(self, client: Any) -> None:
        pool = getattr(client, "connection_pool", None)
        options = getattr(pool, "connection_kwargs", {})
        self._secrets += [str(options[key]) for key in ("password",) if options.get(key)]
        if not self._is_own and options.get("host"):
            self.place = f"redis://{options['host']}:{options.get('port')}/{options.get('db') or 0}"

    def begin(self) -> None:
        """Begin with nothing that a thread of the parent holds; in a forked child."""
        self._stop = threading.Event()
        self._answers = deque([None], 1)

    # -- use ---------------------------------------------------------------------------------------------------------

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

        def evaluate() -> Any:
            nonlocal tries
            tries += 1
            parts = (len(keys), *keys, *common(), int(tries > 1), *arguments)
            return self._evaluate(script, parts, durable and self._replicas > 0)

        if not closing:
            return self._try(evaluate, deadline)
        try:
            return evaluate()
        except (redis_errors.RedisError, redis_errors.RedisClusterException) as error:
            raise self._translated(error) from error
        finally:
            self._close_idle()

    def command(self, *words: Any) -> Any:
        """Run one command that may be repeated, and return its reply."""
        return self._try(lambda: self._client.get().execute_command(*words), None)

    def check_policy(self) -> None:
        """Warn, once, of a Redis that would throw messages away when its memory is full."""
        if self._is_checked:
            return
        self._is_checked = True
        # Of a cluster it is an answer for each server, and some services refuse the question.
        memory = self._try(self._ask_policy, None)
        policy = memory.get("maxmemory_policy", "noeviction") if isinstance(memory, dict) else "noeviction"
        if str(policy) != "noeviction" and memory.get("maxmemory"):
            logger.warning(
                "%s has the maxmemory-policy %s: it deletes messages when its memory is full; set noeviction",
                self.place,
                policy,
            )

    def _ask_policy(self) -> Any:
        try:
            return self._client.get().execute_command("INFO", "memory")
        except redis_errors.ResponseError:
            return None

    def await_item(self, key: bytes, seconds: float) -> None:
        """Take an item from a list, or wait for one for so many seconds."""
        # Redis takes 0 for no limit.
        self._wait("BLPOP", key, max(0.002, round(seconds, 3)))

    def await_entry(self, key: bytes, seq: int, seconds: float) -> None:
        """Wait for an entry of a stream with a greater number, for so many seconds."""
        self._wait("XREAD", "COUNT", 1, "BLOCK", max(2, round(seconds * 1000)), "STREAMS", key, f"{seq}-0")

    def _wait(self, *words: Any) -> None:
        self._check_open()
        try:
            self._client.get().execute_command(*words)
        except OUTAGES as error:
            if isinstance(error, REFUSALS):
                raise self._translated(error) from error
            # The command that follows waits for Redis, and reports.
        except (redis_errors.RedisError, redis_errors.RedisClusterException) as error:
            raise self._translated(error) from error
        finally:
            if self.closed:
                self._close_idle()

    def _try(self, action: Callable[[], Result], deadline: Deadline | None) -> Result:
        patience = Deadline(PATIENCE)
        end = patience if deadline is None or deadline.at < patience.at else deadline
        pause = FIRST_PAUSE
        while True:
            self._check_open()
            try:
                result = action()
                if self.closed:
                    self._close_idle()
            except (*OUTAGES, _ReplicasBehind) as error:
                if isinstance(error, REFUSALS) or end.remaining() <= pause:
                    raise self._translated(error) from error
                self._report(error)
            except (redis_errors.RedisError, redis_errors.RedisClusterException) as error:
                # BUSY: a script of some program takes more than five seconds.
                if not str(error).startswith("BUSY") or end.remaining() <= pause:
                    raise self._translated(error) from error
                self._report(error)
            else:
                if not self._answers:
                    self._answers.append(None)
                    logger.warning("%s answers again", self.place)
                return result
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _check_open(self) -> None:
        ensure_process()
        if self.closed:
            raise StoreError("the store is closed")

    def _evaluate(self, script: Script, parts: Sequence[Any], confirmed: bool) -> Any:
        client = self._client.get()
        evaluate = self._evaluate_confirmed if confirmed else _evaluate_alone
        try:
            return evaluate(client, "EVALSHA", script.digest, *parts)
        except redis_errors.NoScriptError:
            return evaluate(client, "EVAL", script.text, *parts)

    def _evaluate_confirmed(self, client: Any, *words: Any) -> Any:
        # In one pipeline: WAIT is about the writes of its own connection.
        with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command(*words)
            pipeline.execute_command("WAIT", self._replicas, int(WAIT_TIMEOUT * 1000))
            reply, confirmations = pipeline.execute()
        if confirmations < self._replicas:
            raise _ReplicasBehind(
                f"it is stored, but only {confirmations} of {self._replicas} replicas have confirmed it"
            )
        return reply

    # -- errors ------------------------------------------------------------------------------------------------------

    def _report(self, error: Exception) -> None:
        try:
            self._answers.pop()
        except IndexError:
            return  # it was reported
        logger.error("%s does not answer, and is tried again: %s", self.place, self._text(error))

    def _text(self, error: Exception) -> str:
        return redact_text(safe_str(error), *self._secrets) or type(error).__name__

    def _translated(self, error: Exception) -> StoreError:
        text = self._text(error)
        # Within a script the error of a full memory is a text.
        is_full = isinstance(error, redis_errors.OutOfMemoryError) or "used memory > 'maxmemory'" in text
        kind = StoreFull if is_full else StoreError
        return kind(f"{self.place}: {text}")

    def close(self) -> None:
        """Close the connections, and free the threads that use them."""
        self.closed = True
        self._stop.set()
        self._close_idle()

    def _close_idle(self) -> None:
        """Close the connections that no thread uses; each thread does so with its own once the store is closed."""
        client = self._client.peek()
        if self._is_own and client is not None:
            client.connection_pool.disconnect(inuse_connections=False)


def _evaluate_alone(client: Any, *words: Any) -> Any:
    return client.execute_command(*words)


def make_client(url: str) -> Any:
    """Return a client of Redis that repeats nothing by itself, and connects at its first command.

    Raises:
        ValueError: the URL is not one of Redis.
    """
    options: dict[str, Any] = {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
        "max_connections": MAX_CONNECTIONS,
        "protocol": 2,
        "decode_responses": False,
    }
    if url.startswith("unix:"):
        del options["socket_keepalive"]
    for scheme, other in (("valkey://", "redis://"), ("valkeys://", "rediss://")):
        if url.startswith(scheme):
            url = other + url[len(scheme) :]
    try:
        client = redis.Redis.from_url(url, **options)
    except (ValueError, TypeError):
        # Without the cause, whose text may have a secret.
        raise ValueError(f"not a URL of Redis: {redact(url)}") from None
    check_client(client)
    return client


def check_client(client: Any) -> None:
    """Raise unless commands can be given to a client, and its replies are bytes."""
    if not callable(getattr(client, "execute_command", None)):
        raise TypeError(f"RedisStore takes a URL, or a client of redis-py, not {type(client).__name__}")
    if client.get_encoder().decode_responses:
        raise ValueError("RedisStore needs a client whose replies are bytes: leave out decode_responses=True")
