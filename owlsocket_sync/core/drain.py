"""The orderly end of a connection: calls and handlers finish, nothing new is started, then it is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..deadline import Deadline
from ..errors import SocketConnectionError, SocketError, SocketTimeout

if TYPE_CHECKING:
    from .core import Core

CLOSE_TIMEOUT = 3.0
CLOSE_RESERVE = 0.5


def drain(core: Core, timeout: float) -> None:
    """Let calls and handlers of a connection finish, then close it; see `owlsocket_sync.Connection.drain`."""
    deadline = core.sender.deadline_for(timeout)
    core.dispatcher.draining = True
    seconds = deadline.remaining()
    until, finished = Deadline(max(seconds / 2, seconds - CLOSE_RESERVE)), False
    error: SocketError | None = None
    try:
        with core.waits.worker_released(until):
            finished = _finish(core, until)
    except (SocketConnectionError, SocketTimeout) as unsent:  # what was gathered in a batch
        error = unsent
    except BaseException:  # an interrupt: the connection goes on
        core.dispatcher.draining = False
        raise
    core.close(1000, "", Deadline(min(CLOSE_TIMEOUT, deadline.remaining())))
    if error is not None:
        raise error
    if not finished:
        raise SocketTimeout(f"{core.options.name} did not finish within {deadline.seconds:g} s and was closed")


def _finish(core: Core, deadline: Deadline) -> bool:
    """Wait for pending calls, then for handlers; return whether all finished within the deadline."""
    pending = list(core.calls.table.pending.values())
    return all(call.wait(deadline) for call in pending) and core.wait_idle(deadline)
