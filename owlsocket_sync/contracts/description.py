"""The description of an end: its methods, with their signatures, the events that it sends, and their types.

A peer asks by a system message, which an end of the reference shows to its listeners alone; a call of a method that it
does not have would end its process. Threads: no lock; an answer is made on a worker.
"""

from __future__ import annotations

import json
import weakref
from typing import TYPE_CHECKING, Any

from ..errors import SocketUnauthorized, marshal_for_peer
from ..protocol.messages import EventMessage, MessageType
from ..protocol.reports import ErrorContext
from .contract import Contract
from .schemas import Schemas
from .signatures import describe_method

if TYPE_CHECKING:
    from ..connection import Connection
    from ..core.core import Core

VERSION = 1
"""Of the form of a description."""
DESCRIPTION = "description"
MAX_SIZE = 256 * 1024
"""Characters of a description: a short question must not cost a long answer of any size."""


def describe(connection: Connection, contract: Contract | None = None) -> dict[str, Any]:
    """Return the description of an end of this process: what it performs for the peer now, as plain JSON values.

    Args:
        connection: the connection, at either end.
        contract: the events that this end sends.

    Returns:
        What `fetch_description` returns at the other end; see ``docs/how-to/contracts.md``.
    """
    return describe_core(connection._core, contract or Contract())


def describe_core(core: Core, contract: Contract) -> dict[str, Any]:
    """Return the description of a core; methods for a later stage of authentication are not in it."""
    described = _Description()
    # Sorted: the names of types depend on the order in which they are met, and stubs are compared.
    for name, payload_type in sorted(contract.events.items()):
        described.add_event(name, payload_type)
    performers = core.registrations.performers
    for name in sorted(str(name) for name in performers.names()):
        subscriptions = performers.get(name)  # none where it was unsubscribed meanwhile
        stage = getattr(subscriptions[-1].handler, "required_stage", None) if subscriptions else None
        if subscriptions and (stage is None or _is_reached(core, stage)):
            described.add_method(name, subscriptions[-1].handler, stage)
    return described.finish()


def _is_reached(core: Core, stage: Any) -> bool:
    # By what a call would be held to, so that the two cannot differ.
    try:
        core.authentication.require_stage(stage, "")
    except SocketUnauthorized:
        return False
    return True


class _Description:
    """A description that grows up to its limit."""

    def __init__(self) -> None:
        self._schemas = Schemas()
        self._methods: dict[str, Any] = {}
        self._events: dict[str, Any] = {}
        self._size = self._left_out = 0

    def add_event(self, name: str, payload_type: Any) -> None:
        before = set(self._schemas.types)
        self._keep(self._events, name, {"payload": self._schemas.of(payload_type)}, before)

    def add_method(self, name: str, handler: Any, stage: Any) -> None:
        before = set(self._schemas.types)
        entry = describe_method(handler, self._schemas)
        self._keep(self._methods, name, entry if stage is None else {**entry, "stage": stage.value}, before)

    def _keep(self, entries: dict[str, Any], name: str, entry: dict[str, Any], before: set[str]) -> None:
        added = {each: schema for each, schema in self._schemas.types.items() if each not in before}
        # Measured as text of ASCII: at least as long as what is sent.
        size = len(json.dumps([name, entry, added]))
        if self._size + size > MAX_SIZE:
            self._schemas.forget(added)
            self._left_out += 1
        else:
            self._size += size
            entries[name] = entry

    def finish(self) -> dict[str, Any]:
        return {
            "version": VERSION,
            "methods": self._methods,
            "events": self._events,
            "types": self._schemas.types,
            "left_out": self._left_out,
        }


def answer_questions(core: Core, contract: Contract) -> None:
    """Have an end answer those who ask for its description."""
    # Not the core itself: it would be kept alive by what it holds.
    reference = weakref.ref(core)

    def answer(question: Any, link: int) -> None:
        found = reference()
        if found is None or not isinstance(question, dict):
            return
        # As it came: to the server it is any value, and the peer knows its own question by it.
        asked = {"id": question.get("id")}

        def reply(**content: Any) -> None:
            found.services.reply(EventMessage(MessageType.SYSTEM, {**asked, **content}, event=DESCRIPTION), link)

        try:
            reply(description=describe_core(found, contract))
        except Exception as error:  # of a descriptor of the user's, or since it is above the limits of the connection
            found.reporter.report(error, ErrorContext("describe"))
            reply(error=marshal_for_peer(error, None))

    core.dispatcher.describe = answer
