"""The families of messages of one connection, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..protocol.authentication import Authentication
from ..protocol.calls import Calls
from ..protocol.events import Events
from ..protocol.listeners import Listeners
from ..protocol.performers import Performers
from ..protocol.queue import MessageQueue
from ..protocol.requests import Requests

if TYPE_CHECKING:
    from .durable_queue import DurableQueue


@dataclass(frozen=True, slots=True)
class Families:
    """One object for each family; none of them knows another one."""

    calls: Calls
    performers: Performers
    events: Events
    requests: Requests
    queue: MessageQueue
    durable: DurableQueue | None
    authentication: Authentication
    listeners: Listeners
