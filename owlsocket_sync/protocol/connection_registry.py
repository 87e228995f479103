"""The connections of this process, what closed ones have counted, and the instruments that observe all of them.

Threads: ``_registry_lock`` guards the connections and the instruments of the process, and is a leaf. The instruments of
one connection are a tuple that is replaced under it, so that its hooks read them without a lock.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from .. import fork
from ..errors.safe_text import logger, safe_str
from ..locks import make_process_lock
from ..values import escape_for_log, shorten_name
from .hooks import Hooks, Instrument, Operation
from .subscriptions import Subscription

UNNAMED = "owlsocket"

Change = Callable[[tuple[Instrument, ...]], tuple[Instrument, ...]]


class ConnectionRegistry:
    """Connections that are open, and the sums of those that are closed.

    Attributes:
        instruments: those that observe all connections of the process; read without a lock.
    """

    def __init__(self) -> None:
        self.instruments: tuple[Instrument, ...] = ()
        self.after_fork()
        fork.register(self)

    def after_fork(self) -> None:
        """Forget the connections of the parent; a child counts those that it uses."""
        self._registry_lock = make_process_lock()
        self._open: WeakSet[Hooks] = WeakSet()
        self._closed: dict[str, Counter[str]] = {}

    def add(self, hooks: Hooks) -> None:
        """Add a connection, which is observed from now on."""
        fork.ensure_process()  # here and below: the lock may be the parent's
        with self._registry_lock:
            self._open.add(hooks)
            hooks.observe_by(self.instruments)

    def remove(self, hooks: Hooks, counted: Mapping[str, int]) -> None:
        """Remove a connection that is closed, and keep its counters; idempotent."""
        with self._registry_lock, suppress(KeyError):  # it was removed before
            self._open.remove(hooks)
            self._closed.setdefault(metric_group(hooks.name), Counter()).update(counted)

    def connections(self) -> list[Any]:
        """Return the connections that are not removed yet, in no order."""
        fork.ensure_process()
        with self._registry_lock:
            hooks = list(self._open)
        return _facades(hooks)

    def snapshot(self) -> tuple[list[Any], dict[str, Counter[str]]]:
        """Return the open connections, and the counters of the closed ones by group; as of one moment."""
        fork.ensure_process()
        with self._registry_lock:
            hooks = list(self._open)
            closed = {group: counted.copy() for group, counted in self._closed.items()}
        return _facades(hooks), closed

    def extra_of(self, name: str) -> dict[str, str]:
        """Return the keys that instruments of the process add to what a hub takes over.

        Args:
            name: of the event, or the method.
        """
        operation = Operation(None, shorten_name(name))
        for instrument in self.instruments:
            try:
                instrument.on_hand_over(operation)
            except Exception as error:  # there is no connection whose handlers could be told
                logger.error("an instrument failed (on_hand_over): %s", escape_for_log(safe_str(error)), exc_info=error)
        return operation.extra

    def extended(self, event: str, text: bytes, limit: float = math.inf) -> bytes:
        """Return an encoded event with those keys; without them where they are refused, or it grows too large."""
        extra = self.extra_of(event)
        if not extra:
            return text
        from .extra_keys import write_keys  # where no instrument adds any, it is not loaded

        try:
            extended = write_keys(text, extra)
        except (TypeError, ValueError) as error:
            logger.error("an instrument failed (on_hand_over): %s", escape_for_log(safe_str(error)), exc_info=error)
            return text
        return extended if len(extended) <= limit else text

    def instrument(self, instrument: Instrument) -> Subscription:
        """Have an instrument observe every connection of this process."""

        def change(how: Change) -> None:
            fork.ensure_process()
            with self._registry_lock:
                is_changed = False
                while not is_changed:
                    before = self.instruments
                    after = how(before)
                    # No call between the two, and so no interrupt: a signal handler may have changed them as well.
                    if self.instruments is before:
                        self.instruments, is_changed = after, True
                for hooks in list(self._open):
                    hooks.observe_by(self.instruments)

        return _subscribe(instrument, change)

    def instrument_one(self, hooks: Callable[[], Hooks], instrument: Instrument) -> Subscription:
        """Have an instrument observe one connection; ``hooks`` returns those that it has in this process."""

        def change(how: Change) -> None:
            observed = hooks()  # before the lock: in a forked child this may make a new core, which takes the lock
            with self._registry_lock:
                observed.own = how(observed.own)
                observed.observe_by(self.instruments)

        return _subscribe(instrument, change)


REGISTRY = ConnectionRegistry()


def instrument(instrument: Instrument) -> Subscription:
    """Have an instrument observe every connection of this process, those that exist and those to come.

    Both ends count: what `owlsocket_sync.connect` makes, and the clients of embedded servers. From any thread. An
    operation that has begun when the subscription is called still reaches its ``on_…_end``.
    """
    return REGISTRY.instrument(instrument)


def _facades(hooks: list[Hooks]) -> list[Any]:
    # None: another thread is about to make the connection, and has made its parts.
    return [connection for each in hooks if (connection := each.connection) is not None]


def metric_group(name: str) -> str:
    """Return the name under which a connection is summed up: without the number that tells it from its siblings."""
    stem = name.partition("#")[0]
    return UNNAMED if stem.removeprefix(f"{UNNAMED}-").isdecimal() else stem


def _subscribe(instrument: Instrument, change: Callable[[Change], None]) -> Subscription:
    if not isinstance(instrument, Instrument):
        raise TypeError(f"instrument must be an Instrument, not {type(instrument).__name__}")

    def without(present: tuple[Instrument, ...]) -> tuple[Instrument, ...]:
        # The first of equal ones goes: an instrument that was registered twice still observes once.
        position = next((at for at, each in enumerate(present) if each is instrument), len(present))
        return present[:position] + present[position + 1 :]

    change(lambda present: (*present, instrument))
    return Subscription(type(instrument), lambda _: change(without))
