"""The question for the description of the peer, and the wait for its answer.

Threads: any may ask; it waits on a lock of its own, as in a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..core.dispatcher import DESCRIBE
from ..errors import ResilientError, SocketConnectionError, SocketMessageMalformed, SocketTimeout
from ..protocol.calls import BlockingCall
from ..protocol.messages import IDS, EventMessage, LinkClosedMessage, MessageType
from .description import DESCRIPTION, VERSION

if TYPE_CHECKING:
    from ..connection import Connection


def fetch_description(connection: Connection, timeout: float | None = None) -> dict[str, Any]:
    """Ask the peer for its description, and return it.

    Args:
        connection: the connection.
        timeout: seconds; ``None`` for ``default_call_timeout``.

    Raises:
        SocketTimeout: there was no description in time: the peer is a server of this library with ``describe`` off, or
            it is something else. It is not harmed by the question.
        SocketConnectionError: the link was lost, or the connection is closed.
        SocketMessageMalformed: the description is of a newer version, or not in its form.
        ResilientError: the server could not describe itself.
    """
    core = connection._core
    deadline = core.services.deadline_for(timeout)
    answer, id = BlockingCall(), IDS.next()

    def listen(message: Any) -> None:
        if isinstance(message, LinkClosedMessage):
            answer.complete(error=SocketConnectionError("the link was lost before the description came"))
        elif isinstance(message, EventMessage) and message.type is MessageType.SYSTEM:
            payload = message.payload
            if message.event == DESCRIPTION and isinstance(payload, dict) and payload.get("id") == id:
                answer.complete(payload)

    # Registered before the question leaves: the answer may be faster than the next line.
    with connection.listen(listen):
        core.services.send(EventMessage(MessageType.SYSTEM, {"id": id, "version": VERSION}, event=DESCRIBE), deadline)
        with core.services.blocking_wait(deadline):
            if not answer.wait(deadline):
                raise SocketTimeout(
                    f"{connection.url} sent no description within {deadline.seconds:g} s: only a server of "
                    "owlsocket-sync sends one, started with serve(describe=True) or owlsocket serve --describe"
                )
        payload = answer.outcome()
    if isinstance(payload.get("error"), str):
        raise ResilientError.unmarshal(payload["error"])
    return check_description(payload.get("description"))


def check_description(description: Any) -> dict[str, Any]:
    """Return a description, if it has the form that this version reads; raise `SocketMessageMalformed` otherwise."""
    version = description.get("version") if isinstance(description, dict) else None
    version = version if type(version) is int else 0  # True is equal to 1
    if version > VERSION:
        raise SocketMessageMalformed(
            f"the description has version {version}, and this library reads {VERSION}: install a newer owlsocket-sync"
        )
    parts = ("methods", "events", "types")
    if version < VERSION or not all(isinstance(description.get(part), dict) for part in parts):
        raise SocketMessageMalformed("the description is not in the form of version 1: methods, events and types")
    # Not looked into any further: stubs pass over what is not in its form.
    return dict(description)
