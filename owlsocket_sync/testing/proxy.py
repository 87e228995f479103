"""`FaultProxy`: a TCP proxy on this machine that cuts, delays, throttles and corrupts what passes through it."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from .flow import Direction, Faults
from .listener import HOST
from .loop import Loop, ProxyClosed

MAX_SECONDS = sys.float_info.max


class ProxiedConnection(NamedTuple):
    """A snapshot of a proxied connection.

    Attributes:
        number: from 1, in the order of acceptance.
        client: host and port of the client.
        upstream: bytes that have passed from the client to the target.
        downstream: bytes that have passed from the target to the client.
    """

    number: int
    client: tuple[str, int]
    upstream: int
    downstream: int


class FaultProxy:
    """A TCP proxy on a free port of 127.0.0.1, which accepts clients from its construction; a context manager.

    Every fault applies to live and future connections, in both directions unless ``direction`` names one:
    ``"upstream"`` is from the client to the target, ``"downstream"`` from the target to the client. A fault is in
    effect when its method returns, may be changed while bytes pass, and lasts until it is ended or `clear` is called.
    Faults of different kinds add up.

    Random choices depend on the seed, the number of the connection (from 1, in the order of acceptance) and the
    direction alone, so a run can be repeated. ``split`` and ``corrupt`` count bytes of the stream from where the fault
    began, ``jitter`` counts reads.

    Up to 256 KiB are held for each direction; above that the proxy stops reading, and TCP slows the sender down. All
    methods may be called from any thread, and raise ``RuntimeError`` once the proxy is closed. In a forked child the
    proxy is closed.

    Args:
        host: of the target, to which each client is connected.
        port: of the target.
        secure: whether the target speaks TLS, which passes through unchanged: `url` says ``wss``.

    Raises:
        ValueError: an argument is not valid; the message names it.
        OSError: the host cannot be resolved, or no port is free.
    """

    def __init__(self, host: str, port: int, *, secure: bool = False) -> None:
        if not isinstance(host, str) or not host:
            raise ValueError(f"host must be a name or an address, not {host!r}")
        _check_int(port, "port", minimum=1)
        if port > 65_535:
            raise ValueError(f"port must be 65535 at most, not {port}")
        _check_bool(secure, "secure")
        # Resolved once, here: the thread of the loop must not block in DNS.
        resolved = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._target = f"{host}:{port}"
        self._scheme = "wss" if secure else "ws"
        # Last, after every check: it starts the thread.
        self._loop = Loop([(family, address) for family, _, _, _, address in resolved])
        self.port: int = self._loop.listener.port

    def url(self, path: str = "/") -> str:
        """Return the URL for a client to connect to in place of the target; the path may have a query.

        Raises:
            ValueError: the path does not begin with a slash.
        """
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"path must begin with a slash, not {path!r}")
        return f"{self._scheme}://{HOST}:{self.port}{path}"

    @property
    def accepted(self) -> int:
        """The number of clients accepted so far."""
        return self._loop.accepted

    @property
    def connections(self) -> list[ProxiedConnection]:
        """The live connections, in the order of acceptance; empty once the proxy is closed."""
        try:
            # On the loop's thread, so that the counters of one connection belong to the same moment.
            return self._loop.run_in_loop(self._snapshot)
        except ProxyClosed:
            return []

    def _snapshot(self) -> list[ProxiedConnection]:
        return [
            ProxiedConnection(pipe.number, pipe.address, *(pipe.flows[direction].passed for direction in Direction))
            for pipe in self._loop.pipes()
        ]

    def cut(self, after: int | None = None, *, direction: str | None = None) -> None:
        """End connections as a server does that shuts down (FIN); bytes that are held are lost.

        Args:
            after: end each connection, live or future, once this number of its bytes has passed in all, and pass not
                one more; by default the live connections end now, and later ones are not affected.
            direction: in which the bytes are counted; by default either one may reach the limit. Only with ``after``.
        """
        self._end("cut", after, direction)

    def reset(self, after: int | None = None, *, direction: str | None = None) -> None:
        """End connections with a reset (RST); otherwise as `cut`. The last bytes before a reset may be lost."""
        self._end("reset", after, direction)

    def _end(self, how: str, after: int | None, direction: str | None) -> None:
        if after is not None:
            _check_int(after, "after")
            self._change("both" if direction is None else direction, **{f"{how}_after": after})
        elif direction is not None:
            raise ValueError(f"direction needs after: without after, {how}() ends whole connections")
        else:
            self._loop.run_in_loop(lambda: self._loop.end_all(reset=how == "reset"))

    def blackhole(self, on: bool = True, *, direction: str = "both") -> None:
        """Stop reading and writing, and passing on ends, until it is switched off; then everything that is held flows.

        Clients that connect meanwhile are accepted; with ``"upstream"`` or ``"both"`` they are connected to the target
        afterwards.
        """
        self._change(direction, blackhole=_check_bool(on, "on"))

    def delay(self, seconds: float, jitter: float = 0.0, seed: int = 0, *, direction: str = "both") -> None:
        """Delay bytes and ends after their arrival. Their order is kept, and the throughput too: delays overlap.

        Args:
            seconds: the delay; 0 ends it. It applies to bytes that are held already, too.
            jitter: the largest additional delay in seconds; each read draws its share of it.
            seed: of the jitter.
            direction: ``"both"``, ``"upstream"`` or ``"downstream"``.
        """
        delay, max_jitter = _check_seconds(seconds, "seconds"), _check_seconds(jitter, "jitter")
        self._change(direction, delay=delay, jitter=max_jitter, delay_seed=_check_int(seed, "seed", minimum=None))

    def throttle(self, bytes_per_second: float | None, *, direction: str = "both") -> None:
        """Limit the rate of each direction of each connection; ``None`` ends it.

        After a pause, the bytes of a tenth of a second may pass at once.
        """
        rate = None if bytes_per_second is None else _check_seconds(bytes_per_second, "bytes_per_second")
        # A rate of 0 would make the bucket's next wakeup infinite: that is a black hole, which has its own method.
        if rate == 0:
            raise ValueError("bytes_per_second must be more than 0 (blackhole() stops everything)")
        self._change(direction, rate=rate)

    def split(self, seed: int | None, *, direction: str = "both") -> None:
        """Send in pieces of 1 to 64 bytes, cut at positions that the seed chooses; ``None`` ends it.

        A piece is shorter where no more bytes have arrived. Each is one send, without Nagle's algorithm; a slow
        receiver may still read several at once.
        """
        self._change(direction, split_seed=None if seed is None else _check_int(seed, "seed", minimum=None))

    def corrupt(self, seed: int | None, every: int = 1000, *, direction: str = "both") -> None:
        """Change about one byte in ``every``, at positions that the seed chooses; ``None`` ends it."""
        _check_int(every, "every", minimum=1)
        checked = None if seed is None else _check_int(seed, "seed", minimum=None)
        self._change(direction, corrupt_seed=checked, corrupt_every=every)

    def refuse(self, on: bool = True) -> None:
        """Refuse new clients (ECONNREFUSED) until it is switched off; the port stays reserved.

        Raises:
            OSError: another process took the port in the moment between two sockets of this one.
        """
        _check_bool(on, "on")
        self._loop.run_in_loop(lambda: self._loop.listener.refuse(on))

    def clear(self) -> None:
        """End all faults; the bytes that they held flow. Does nothing once the proxy is closed."""
        with suppress(ProxyClosed):
            self._loop.run_in_loop(self._clear)

    def _clear(self) -> None:
        # Both in one command: no client may connect between the two and meet half of the faults.
        self._loop.change(list(Direction), vars(Faults()))
        self._loop.listener.refuse(False)

    def _change(self, direction: str, **changes: Any) -> None:
        directions = _parse_direction(direction)
        self._loop.run_in_loop(lambda: self._loop.change(directions, changes))

    def close(self) -> None:
        """End all connections and free the port; any number of times, from any thread.

        Raises:
            TimeoutError: the thread of the proxy did not end.
        """
        if not self._loop.stop():
            raise TimeoutError("the thread of the proxy did not end")

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FaultProxy {self.url()} in front of {self._target}>"


def _parse_direction(direction: str) -> list[Direction]:
    if direction == "both":
        return list(Direction)
    try:
        return [Direction(direction)]
    except ValueError:
        raise ValueError(f"direction must be 'both', 'upstream' or 'downstream', not {direction!r}") from None


def _check_int(value: int, name: str, minimum: int | None = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or (minimum is not None and value < minimum):
        bound = "" if minimum is None else f", {minimum} or more"
        raise ValueError(f"{name} must be a whole number{bound}, not {value!r}")
    return value


def _check_seconds(value: float, name: str) -> float:
    # Infinity and NaN are refused too: a comparison with NaN is false.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MAX_SECONDS:
        raise ValueError(f"{name} must be a number, 0 or more, not {value!r}")
    return float(value)


def _check_bool(value: bool, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return value
