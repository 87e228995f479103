"""`RedisHeartbeat`: the thread of a node that tells Redis that the node lives, and keeps its members there.

It also clears what dead nodes have left, at the moment at which they are dead; puts back what Redis has lost, or what
others have cleared while this node was suspended; and has operations done for which no thread waits.

Threads: the heartbeat itself; `RedisHeartbeat.join` and the like may be called from any. The members are changed in one
step of the interpreter each. What is told of a place to Redis is told again until it is what is known here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from os import getpid

from ..clock import monotonic
from ..deadline import Deadline
from ..errors import SocketError
from ..errors.safe_text import logger
from ..fork import end_inherited_thread
from ..protocol.log_throttle import LogThrottle, omission
from .records import encode_text
from .redis_commands import HubLink, HubOperation, RedisCommands, patience_within

FAILED_PAUSE = 0.1
LATE = 1.4
"""Heartbeats after which one is late; the script takes 1.5 without any for an outage."""

Place = tuple[str, str]
"""A room, and the id of a connection."""


class RedisHeartbeat:
    """The heartbeat of one node.

    Args:
        link: to Redis.
        commands: of the node.
        seconds: between two heartbeats.
        compare: called after each one with the nodes that are there.
    """

    def __init__(
        self, link: HubLink, commands: RedisCommands, seconds: float, compare: Callable[[set[str]], object]
    ) -> None:
        self._commands = commands
        self._seconds = seconds
        self._compare = compare
        self._stop = link.stop
        # Free once the thread has to look. No event: an interrupt could leave the lock inside of it taken.
        self._idle = threading.Lock()
        self._idle.acquire()
        self._members: dict[Place, bytes] = {}
        self._servers: dict[str, None] = {}
        self._unsure: dict[Place, None] = {}
        """Places of which Redis may know something else."""
        self._has_to_restore = False
        self._throttle = LogThrottle()
        self._look = self._latest = 0.0
        self._process = getpid()
        self.thread = threading.Thread(target=self._run, name="owlsocket-hub-heartbeat", daemon=True)

    # -- what the node has -------------------------------------------------------------------------------------------

    def join(self, room: str, id: str, member: bytes) -> None:
        """Store a member."""
        place = room, id
        before = self._members.get(place)
        self._members[place] = member
        try:
            self._commands.run("join", encode_text(room), encode_text(id), member, "0")
        except BaseException:
            if self._members.get(place) is member:
                if before is None:
                    self._members.pop(place, None)
                else:
                    self._members[place] = before
            self._mark(place)  # Redis may have done it
            self._wake()
            raise

    def leave(self, room: str, id: str) -> None:
        """Remove a member, as soon as Redis answers."""
        self._members.pop((room, id), None)
        self._tell(("leave", encode_text(room), encode_text(id)), (room, id))

    def add_server(self, server: str) -> None:
        """Add a server of this node."""
        try:
            self._commands.run("add_server", encode_text(server))
        except BaseException:  # Redis may have done it
            self.remove_server(server)
            raise
        self._servers[server] = None

    def remove_server(self, server: str) -> None:
        """Remove a server of this node, as soon as Redis answers."""
        self._servers.pop(server, None)
        self._tell(("remove_server", encode_text(server)), None)

    def _tell(self, words: tuple[str | bytes, ...], place: Place | None) -> None:
        failed = None if place is None else partial(self._mark_failed, place)
        try:
            self._commands.begin(words, failed)
        except SocketError:
            return  # the hub is closed, and with it all its members are gone
        self._wake()

    def _mark_failed(self, place: Place, error: SocketError) -> None:
        omitted = self._throttle.admit(type(error).__name__)
        if omitted is not None:
            logger.warning("a change of presence is tried again: %s%s", error, omission(omitted))
        self._mark(place)

    def _mark(self, place: Place) -> None:
        self._unsure[place] = None

    def _wake(self) -> None:
        with suppress(RuntimeError):  # it was woken before
            self._idle.release()

    # -- the thread --------------------------------------------------------------------------------------------------

    def catch_up(self, deadline: Deadline | None) -> None:
        """Send a heartbeat if it is late: after an outage, others are not taken for dead from then on."""
        if self._latest and monotonic() > self._latest + LATE * self._seconds:
            self.beat(deadline)

    def beat(self, deadline: Deadline | None = None) -> HubOperation:
        """Send a heartbeat, with all that was begun before it."""
        commands = self._commands
        beat = commands.complete(commands.begin(("beat",)), patience_within(deadline))
        is_known, more, look, nodes = beat.reply
        self._latest = monotonic()
        # At once where dead nodes have left more than one run clears.
        self._look = 0.0 if more else min(self._seconds, look / 1000)
        self._has_to_restore = self._has_to_restore or not is_known
        self._compare({node.decode() for node in nodes})
        return beat

    def _run(self) -> None:
        while not self._stop.is_set() and getpid() == self._process:
            self._idle.acquire(True, max(0.0, self._look))
            if self._stop.is_set() or getpid() != self._process:
                break
            try:
                self.beat()
                self._restore()
            except SocketError as error:
                logger.debug("the heartbeat of the hub failed: %s", error)  # the link has reported it
                self._stop.wait(FAILED_PAUSE)
            except Exception:  # whatever it is, the node has to stay alive
                logger.exception("the heartbeat of the hub failed")
                self._stop.wait(FAILED_PAUSE)
        if getpid() != self._process:
            end_inherited_thread()

    def _restore(self) -> None:
        """Tell Redis what it does not know, or may not."""
        if self._has_to_restore:
            for server in self._servers.copy():
                self._commands.run("add_server", encode_text(server))
            # All of them, also those that Redis has: what it was restored from is not known.
            for place in self._members.copy():
                self._mark(place)
            self._has_to_restore = False
        operations = [self._settle(place) for place in self._unsure.copy()]
        if operations:
            self._commands.complete(operations[-1], patience_within(None))
            self._wake()

    def _settle(self, place: Place) -> HubOperation:
        """Begin to tell Redis what is known of a place, until that is what it hears last."""
        self._unsure.pop(place, None)
        room, id = map(encode_text, place)
        while True:
            member = self._members.get(place)
            words = ("leave", room, id) if member is None else ("join", room, id, member, "1")
            operation = self._commands.begin(words, partial(self._mark_failed, place))
            if self._members.get(place) is member:
                return operation

    def end(self) -> None:
        """Wake the thread, which ends once the link is closed."""
        self._wake()
