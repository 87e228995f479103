"""The changes of a state, delivered in order, one at a time, and under no lock.

Threads: the condition of the state guards the queue; it is not held while a change is delivered.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

from ..deadline import Deadline
from ..locks import Condition
from ..states import CloseInfo, ConnectionState, StateChange

Transition = tuple[ConnectionState, ConnectionState, CloseInfo | None, int]
"""The new state, the one before, the reason, and the number of the change."""

CHANGE_NUMBERS = itertools.count(1)
"""The numbers of changes, which increase over all connections of a process, and of its children."""


class StateChanges:
    """The queue of changes that are not delivered yet, and of actions that follow them.

    Args:
        state_changed: guards the state; reentrant.
        state_lock: the lock of the condition.

    Attributes:
        queue: what is not delivered yet; a change is added with the lock that is held while the state changes, and
            `deliver` has to follow.
    """

    __slots__ = ("_deliverer", "_state_changed", "_state_lock", "_unconfirmed", "queue")

    def __init__(self, state_changed: Condition, state_lock: AbstractContextManager[object]) -> None:
        self._state_changed = state_changed
        self._state_lock = state_lock
        self.queue: list[Transition | Callable[[], object]] = []
        self._deliverer: int | None = None
        self._unconfirmed: ConnectionState | None = None

    def put_action(self, action: Callable[[], object]) -> None:
        """Queue an action that follows the changes so far, on the thread that delivers; `deliver` has to follow."""
        with self._state_lock:
            self.queue.append(action)

    def deliver(self, receive: Callable[[StateChange, int], object]) -> None:
        """Deliver the queued changes in order, unless another thread does, or this one in a call further up."""
        failure: BaseException | None = None
        while True:
            is_mine, me = False, threading.get_ident()
            try:
                with self._state_lock:
                    # Queueing and this check hold the same lock: either the change is seen here, or its thread finds
                    # no deliverer and delivers it. So none is left behind, and one thread at a time delivers.
                    if self._deliverer is not None or not self.queue:
                        self._state_changed.notify_all()  # a thread may wait in `wait_delivered`
                        break
                    item = self.queue[0] if self.queue else None  # no call: it may change between two
                    previous = item[1] if isinstance(item, tuple) else None
                    # No call from here on, and so no interrupt: what is taken now is known below. What interrupted the
                    # lines above may have delivered it.
                    if self._deliverer is None and self.queue and self.queue[0] is item:
                        is_mine, self._deliverer = True, me
                        if self._unconfirmed is None:
                            self._unconfirmed = previous
                        del self.queue[0]
                if not is_mine:
                    continue
                if isinstance(item, tuple):
                    self._deliver_one(*item, receive)
                elif item is not None:
                    item()
            except BaseException as error:
                # An interrupt must not strand the changes that other threads have left to this one.
                failure = failure or error
            finally:
                if is_mine:
                    self._deliverer = None
        if failure is not None:
            raise failure

    def _deliver_one(
        self,
        state: ConnectionState,
        previous: ConnectionState,
        info: CloseInfo | None,
        number: int,
        receive: Callable[[StateChange, int], object],
    ) -> None:
        # An interrupt lost the change before this one, or may have: this one leads from the state before both.
        previous = self._unconfirmed or previous
        returned: list[object] = []
        try:
            if state is not previous:
                details = () if info is None else (info.code, info.reason, info.error)
                # extend(map()) notes in the same builtin call that it returned.
                returned.extend(map(receive, (StateChange(state, previous, *details),), (number,)))
            self._unconfirmed = None
        except BaseException as error:
            if returned or isinstance(error, Exception):
                self._unconfirmed = None
            raise

    def wait_delivered(self, deadline: Deadline) -> bool:
        """Wait until nothing is queued, and return whether that is so; at once on the thread that delivers."""
        with self._state_lock:
            if self._deliverer != threading.get_ident():
                deadline.wait_for(self._state_changed, self._is_delivered)
            return self._is_delivered()

    def _is_delivered(self) -> bool:
        return self._deliverer is None and not self.queue
