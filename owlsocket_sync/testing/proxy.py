"""`FaultProxy`: a TCP proxy on this machine that cuts, delays, holds back and spoils what passes through it."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from typing import Any, NamedTuple

from .door import HOST
from .flow import Direction, Faults
from .loop import Loop, ProxyClosed

LARGEST = sys.float_info.max


class Proxied(NamedTuple):
    """A connection as it is proxied at one moment.

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
    """A TCP proxy on a free port of 127.0.0.1 that serves from the moment it is there; a context manager.

    Every fault acts on live and future connections, in both directions unless it is told which: ``"upstream"`` is from
    the client to the target, ``"downstream"`` from the target to the client. It may be changed while bytes pass, has
    begun when the method returns, and lasts until it is ended or `clear` is called. Faults of different kinds add up.

    Each connection and direction draws what is random from the seed, its number (from 1, in the order of acceptance)
    and the direction, so the same run can be had again. ``split`` and ``corrupt`` count bytes of the stream from where
    the fault began, ``jitter`` counts reads.

    Up to 256 KiB of each direction are held; when there are more, the proxy stops reading, and TCP slows the sender
    down. All methods may be called from any thread, and raise ``RuntimeError`` once the proxy is closed. A forked child
    has no part in it.

    Args:
        host: where to connect to for each client.
        port: and on which port.
        secure: whether the target speaks TLS, which passes as it is: `url` says ``wss``.

    Raises:
        ValueError: an argument cannot be used; the message names it.
        OSError: the host has no address, or no port is free.
    """

    def __init__(self, host: str, port: int, *, secure: bool = False) -> None:
        if not isinstance(host, str) or not host:
            raise ValueError(f"host must be a name or an address, not {host!r}")
        _whole(port, "port", least=1)
        if port > 65_535:
            raise ValueError(f"port must be 65535 at most, not {port}")
        if not isinstance(secure, bool):
            raise ValueError(f"secure must be True or False, not {secure!r}")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self._target = f"{host}:{port}"
        self._scheme = "wss" if secure else "ws"
        self._loop = Loop([(family, address) for family, _, _, _, address in found])
        self.port: int = self._loop.door.port

    def url(self, path: str = "/") -> str:
        """What a client connects to in place of the target; the path may have a query.

        Raises:
            ValueError: the path does not begin with a slash.
        """
        if not isinstance(path, str) or not path.startswith("/"):
            raise ValueError(f"path must begin with a slash, not {path!r}")
        return f"{self._scheme}://{HOST}:{self.port}{path}"

    @property
    def accepted(self) -> int:
        """How many clients were ever accepted."""
        return self._loop.accepted

    @property
    def connections(self) -> list[Proxied]:
        """What is proxied now, in the order of acceptance; empty once the proxy is closed."""
        try:
            return self._loop.do(self._proxied)
        except ProxyClosed:
            return []

    def _proxied(self) -> list[Proxied]:
        return [
            Proxied(pipe.number, pipe.address, *(pipe.flows[direction].passed for direction in Direction))
            for pipe in self._loop.pipes()
        ]

    def cut(self, after: int | None = None, *, direction: str | None = None) -> None:
        """End connections as a server does that goes away (FIN); what is held is lost.

        Args:
            after: end each connection, live or future, once so many of its bytes in all have passed, and let not one
                more pass; the default ends what is live now, and nothing later.
            direction: in which the bytes are counted, ``"both"`` by default: in either one; only with ``after``.
        """
        self._end("cut", after, direction)

    def reset(self, after: int | None = None, *, direction: str | None = None) -> None:
        """End connections with a reset (RST); otherwise as `cut`. The last bytes before a reset may be lost to it."""
        self._end("reset", after, direction)

    def _end(self, how: str, after: int | None, direction: str | None) -> None:
        if after is not None:
            _whole(after, "after")
            self._change("both" if direction is None else direction, **{f"{how}_after": after})
        elif direction is not None:
            raise ValueError(f"direction needs after: without that, {how}() ends whole connections")
        else:
            self._loop.do(lambda: self._loop.end_all(reset=how == "reset"))

    def blackhole(self, on: bool = True, *, direction: str = "both") -> None:
        """Neither read nor write, nor pass on that one side has ended, until it is switched off; then all flows on.

        Clients that come meanwhile are accepted; upstream or both, the target hears of them afterwards.
        """
        self._change(direction, blackhole=_flag(on, "on"))

    def delay(self, seconds: float, jitter: float = 0.0, seed: int = 0, *, direction: str = "both") -> None:
        """Let bytes, and ends, arrive so much later than they came; in order, and without getting in each other's way.

        Args:
            seconds: the latency; 0 ends it. What is held already is delayed by it too.
            jitter: how much more it can be, in seconds; each read draws its share.
            seed: of what is drawn.
            direction: ``"both"``, ``"upstream"`` or ``"downstream"``.
        """
        latency, most = _seconds(seconds, "seconds"), _seconds(jitter, "jitter")
        self._change(direction, delay=latency, jitter=most, delay_seed=_whole(seed, "seed", least=None))

    def throttle(self, bytes_per_second: float | None, *, direction: str = "both") -> None:
        """Let no more bytes pass in each direction of each connection; after a pause, a tenth of a second's at once.

        ``None`` ends it.
        """
        rate = None if bytes_per_second is None else _seconds(bytes_per_second, "bytes_per_second")
        if rate == 0:
            raise ValueError("bytes_per_second must be more than 0 (blackhole() stops everything)")
        self._change(direction, rate=rate)

    def split(self, seed: int | None, *, direction: str = "both") -> None:
        """Send in pieces of 1 to 64 bytes, cut at places that the seed chooses; ``None`` ends it.

        A piece is shorter where no more bytes are there. Each is one send, without Nagle's algorithm; a receiver that
        is slow may still read several at once.
        """
        self._change(direction, split_seed=None if seed is None else _whole(seed, "seed", least=None))

    def corrupt(self, seed: int | None, every: int = 1000, *, direction: str = "both") -> None:
        """Change about one byte in ``every``, at places that the seed chooses; ``None`` ends it."""
        _whole(every, "every", least=1)
        chosen = None if seed is None else _whole(seed, "seed", least=None)
        self._change(direction, corrupt_seed=chosen, corrupt_every=every)

    def refuse(self, on: bool = True) -> None:
        """Refuse new clients (ECONNREFUSED) on a port that stays ours, until it is switched off.

        Raises:
            OSError: another process took the port in the instant in which it was nobody's.
        """
        _flag(on, "on")
        self._loop.do(lambda: self._loop.door.refuse(on))

    def clear(self) -> None:
        """End all faults; what they held flows on. Does nothing once the proxy is closed."""
        with suppress(ProxyClosed):
            self._loop.do(self._clear)

    def _clear(self) -> None:
        self._loop.change(list(Direction), vars(Faults()))
        self._loop.door.refuse(False)

    def _change(self, direction: str, **changes: Any) -> None:
        chosen = _directions(direction)
        self._loop.do(lambda: self._loop.change(chosen, changes))

    def close(self) -> None:
        """End all connections and give the port up; any number of times, from any thread.

        Raises:
            TimeoutError: the thread of the proxy did not end.
        """
        if not self._loop.stop():
            raise TimeoutError("the thread of the proxy did not end")

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<FaultProxy {self.url()} in front of {self._target}>"


def _directions(direction: str) -> list[Direction]:
    if direction == "both":
        return list(Direction)
    try:
        return [Direction(direction)]
    except ValueError:
        raise ValueError(f"direction must be 'both', 'upstream' or 'downstream', not {direction!r}") from None


def _whole(value: int, name: str, least: int | None = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or (least is not None and value < least):
        raise ValueError(f"{name} must be a whole number{'' if least is None else f', {least} or more'}, not {value!r}")
    return value


def _seconds(value: float, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LARGEST:
        raise ValueError(f"{name} must be a number, 0 or more, not {value!r}")
    return float(value)


def _flag(value: bool, name: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")
    return value
