"""owlsocket_sync."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from owlsocket_sync import Connection, EventMessage, Limits
from owlsocket_sync import connect as connect_socket

from . import Address

BATCH = 1000


def open_connection(address: Address, limits: Limits | None = None, compression: str | None = None) -> Connection:
    """Open a connection, otherwise with the default options."""
    context = None if address.authority is None else ssl.create_default_context(cafile=address.authority)
    return connect_socket(address.url, ssl_context=context, limits=limits or Limits(), compression=compression)


class Ours:
    """owlsocket_sync, where each message is sent at once."""

    def __init__(self, address: Address, largest: int | None = None, compression: str | None = None) -> None:
        limits = None if largest is None else Limits(message_size=largest, dispatch_bytes=2 * largest)
        self.connection = open_connection(address, limits, compression)
        # Bound once: the benchmark measures the call, not the lookup of an attribute.
        self.call = self.connection.call
        self.submit = self.connection.submit
        self._left = 0
        self._all_came = threading.Event()
        self.connection.observe("tick", self._take)

    def close(self) -> None:
        """Close with the closing handshake."""
        self.connection.close()

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """Submit the calls one by one."""
        submit = self.connection.submit
        return [submit("echo", payload) for _ in range(count)]

    def take_events(self, count: int, size: int) -> None:
        """Receive the events through `observe`, with one handler."""
        self._left = count
        self._all_came.clear()
        self.connection.call("flood", count, size)
        self._all_came.wait()

    def _take(self, message: EventMessage) -> None:
        self._left -= 1
        if not self._left:
            self._all_came.set()

    def notify_all(self, count: int, payload: Any) -> None:
        """Send the events one by one with `notify`."""
        notify = self.connection.notify
        for _ in range(count):
            notify("tick", payload)
        check_count(self.connection.call("counted"), count)


class OursInBatches(Ours):
    """owlsocket_sync, where messages are sent in batches of a thousand."""

    def submit_all(self, count: int, payload: Any) -> Sequence[Future[Any]]:
        """Submit the calls inside of one `batch`."""
        with self.connection.batch():
            return super().submit_all(count, payload)

    def notify_all(self, count: int, payload: Any) -> None:
        """Send the events with `notify`, inside of `batch`."""
        notify = self.connection.notify
        for start in range(0, count, BATCH):
            with self.connection.batch():
                for _ in range(min(BATCH, count - start)):
                    notify("tick", payload)
        check_count(self.connection.call("counted"), count)


def check_count(counted: int, expected: int) -> None:
    """Raise `RuntimeError` if events were lost: the rate would be wrong."""
    if counted != expected:
        raise RuntimeError(f"{counted} of {expected} events arrived")
