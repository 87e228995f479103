"""Clients of redis-py that repeat nothing by themselves, and the errors of an outage.

A command whose answer was lost may have been done. So the user of a client here decides about each repetition.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from ..errors import MissingExtra
from ..urls import redact

try:
    import redis
    from redis import exceptions as exceptions
    from redis.backoff import NoBackoff
    from redis.retry import Retry
    from redis.sentinel import Sentinel, SentinelConnectionPool
except ImportError as error:
    raise MissingExtra(
        "this needs the package redis: python -m pip install 'owlsocket-sync[redis]'", error.name
    ) from error

CONNECT_TIMEOUT = SOCKET_TIMEOUT = 5.0
MAX_CONNECTIONS = 10_000

OUTAGES = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.ReadOnlyError,
    exceptions.ClusterDownError,
    exceptions.TryAgainError,
)
"""Errors that pass: Redis restarts, loads its data, or another server takes over."""
REFUSALS = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.MaxConnectionsError)
"""Errors of the same classes that do not pass."""
ERRORS = (exceptions.RedisError, exceptions.RedisClusterException)
"""All errors of the package."""


def make_client(url: str) -> Any:
    """Return a client of Redis that repeats nothing by itself, and connects at its first command.

    Args:
        url: ``redis://``, ``rediss://`` (TLS), ``unix://``, the same with ``valkey``, or
            ``redis+sentinel://[user:password@]host:port,host:port/0/name``.

    Raises:
        ValueError: the URL is not one of Redis, or has an option that its client does not know.
    """
    options: dict[str, Any] = {**_waits(), "max_connections": MAX_CONNECTIONS, "protocol": 2, "decode_responses": False}
    if url.startswith("unix:"):
        del options["socket_keepalive"]
    scheme, separator, rest = url.partition("://")
    url = scheme.replace("valkey", "redis", 1) + separator + rest
    try:
        if scheme.endswith("+sentinel"):
            client = _client_of_sentinels(url, options)
        else:
            client = redis.Redis.from_url(url, **options)
            # The client itself would look at its options at the first use. It is not connected by this.
            client.connection_pool.connection_class(**client.connection_pool.connection_kwargs)
    except (ValueError, TypeError) as error:
        # Without the cause, whose text may have a secret.
        raise ValueError(f"{_reason(url, str(error))}: {place_of(url)}") from None
    return client


def _reason(url: str, text: str) -> str:
    """Return what is wrong with a URL; nothing of the text is repeated but the name of an option."""
    for name, _ in parse_qsl(urlsplit(url).query):  # none without a value, which may be a secret itself
        if f"unexpected keyword argument {name!r}" in text:
            return f"unknown option {name!r} in the URL of a Redis"
    return "not a URL of Redis"


def _waits() -> dict[str, Any]:
    return {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": CONNECT_TIMEOUT,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
        "retry_on_error": [],
        "health_check_interval": 0,
    }


def _client_of_sentinels(url: str, options: dict[str, Any]) -> Any:
    parts = urlsplit(url)
    db, _, name = parts.path.strip("/").rpartition("/")
    hosts = [urlsplit(f"//{host}") for host in parts.netloc.rpartition("@")[2].split(",")]
    for option, _ in parse_qsl(parts.query, keep_blank_values=True):
        raise TypeError(f"unexpected keyword argument {option!r}")
    if parts.scheme != "redis+sentinel" or not name or not all(host.hostname for host in hosts):
        raise ValueError("redis+sentinel://host:port,host:port/0/name")
    credentials = parts.netloc.rpartition("@")[0].partition(":")
    names = {"username": unquote(credentials[0]), "password": unquote(credentials[2])}
    options.update({key: value for key, value in names.items() if value}, db=int(db or 0))
    places = [(host.hostname, host.port or 26379) for host in hosts]
    return Sentinel(places, sentinel_kwargs=_waits(), **options).master_for(unquote(name))  # type: ignore[no-untyped-call]


def place_of(url: str) -> str:
    """Return a URL of Redis without its secrets."""
    scheme, separator, rest = url.partition("://")
    if scheme.endswith("+sentinel"):
        return scheme + separator + rest.partition("?")[0].rpartition("@")[2]
    return redact(url)


def check_client(client: Any, taker: str) -> None:
    """Raise unless commands can be given to a client, and its replies are bytes.

    Args:
        client: the client.
        taker: the class that was given it, for the error.
    """
    if not callable(getattr(client, "execute_command", None)):
        raise TypeError(f"{taker} takes a URL, or a client of redis-py, not {type(client).__name__}")
    if client.get_encoder().decode_responses:
        raise ValueError(f"{taker} needs a client whose replies are bytes: leave out decode_responses=True")


def close_idle(client: Any) -> None:
    """Close the connections that no thread uses, those to Sentinels included."""
    pool = getattr(client, "connection_pool", None)
    if pool is None:  # of a cluster, which does not tell which ones are in use
        client.disconnect_connection_pools()
        return
    pool.disconnect(inuse_connections=False)
    sentinels = pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else ()
    for sentinel in sentinels:
        sentinel.connection_pool.disconnect(inuse_connections=False)


def leave_connections(client: Any) -> None:
    """Close the descriptors that a forked child has of the connections of its parent, without a byte to Redis."""
    pool = client.connection_pool
    for connection in (*pool._available_connections, *pool._in_use_connections):
        if connection._sock is not None:
            # Not by the connection, which would shut down the socket, and with it the one of the parent.
            connection._sock.close()
