"""`RedisHub`: a hub over any number of machines, in a Redis that they share.

Threads: any. A node that only publishes has no thread of its own. One that listens has two: one reads, and one sends
its heartbeat. ``_listening_lock`` is held while a node begins to listen, which takes one answer of Redis.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from ..deadline import Deadline
from ..errors import SocketError
from ..errors.safe_text import logger
from ..locks import make_process_lock
from .base import BusEvents
from .hub import Hub
from .records import encode_text, member_of, member_record, valid
from .redis_commands import HubLink, LogEnd, RedisCommands
from .redis_heartbeat import RedisHeartbeat
from .redis_reader import RedisReader
from .values import Member, Publication

CLOSE_PATIENCE = 1.0
"""Seconds for which the end of a node is tried to be told to Redis."""
JOIN_PATIENCE = 1.0


class RedisBus:
    """A `Bus` in Redis; see `RedisHub`."""

    def __init__(self, url_or_client: Any, prefix: str, maxlen: int, heartbeat: float) -> None:
        self._link = HubLink(url_or_client, "RedisHub")
        self._prefix = f"{{{prefix}:hub}}:"
        self._seconds = heartbeat
        self._settings = (maxlen, round(heartbeat * 1000))
        self._reader: RedisReader | None = None

    @property
    def place(self) -> str:
        """The place of Redis, without secrets."""
        return self._link.place

    # -- the life of a node ------------------------------------------------------------------------------------------

    def open(self, node: str, events: BusEvents) -> None:
        """Begin; in a forked child once more, with nothing of the parent's."""
        link = self._link
        self._listening_lock = make_process_lock()
        self._node, self._events = node, events
        self._reader = None
        self._nodes: set[str] = set()
        self._epoch = ""
        self._commands = RedisCommands(link, self._prefix, node, self._settings)
        self._heartbeat = RedisHeartbeat(link, self._commands, self._seconds, self._compare)

    def listen(self) -> None:
        """Begin to read, and to send heartbeats."""
        if self._reader is not None:
            return
        with self._listening_lock:
            if self._reader is not None:
                return
            self._link.check_policy()
            end = self._heartbeat.beat().end
            keys = f"{self._prefix}log", f"{self._prefix}to:{self._node}"
            reader = RedisReader(self._link, keys, self._events, end, self._renew)
            # Again: a signal handler on this thread may have come here meanwhile.
            if self._reader is None:
                self._commands.seen = lambda: reader.end
                try:
                    self._reader = reader
                    reader.thread.start()
                    self._heartbeat.thread.start()
                except BaseException:
                    self._reader = None
                    reader.stop.set()
                    raise

    def _renew(self, epoch: str) -> None:
        with suppress(SocketError):  # the hub is closed
            self._commands.begin(("renew", epoch), None)

    def _compare(self, nodes: set[str]) -> None:
        """Note which nodes there are, and which epoch the log has; after each heartbeat."""
        before, self._nodes = self._nodes, nodes
        for node in before - nodes:
            self._events.node_lost(node)
        reader, epoch = self._reader, self._commands.end.epoch
        # Twice: the reader may be about to read the first entry of another epoch.
        if reader is not None and reader.end.epoch != epoch and epoch == self._epoch:
            reader.find(epoch)
        self._epoch = epoch

    def close(self) -> None:
        """End; the node, its servers and its members are gone at once."""
        commands, reader = self._commands, self._reader
        is_first, commands.closed = not commands.closed, True
        if reader is not None and is_first:
            reader.stop.set()  # it is woken by the last entry of the node
            try:
                deadline = Deadline(CLOSE_PATIENCE)
                # As often as there are places left to clear: one run clears a page of them.
                while commands.complete(commands.add(("finish",)), deadline).reply:
                    pass
            except SocketError as error:
                logger.warning("the node is removed from the hub by the others, in a while: %s", error)
        self._link.close()
        if reader is not None:
            self._heartbeat.end()
            patience = Deadline(JOIN_PATIENCE)
            for thread in (self._heartbeat.thread, reader.thread):
                with suppress(RuntimeError):  # this thread itself, or one that was not started
                    patience.join(thread)

    def _ask(self, words: tuple[str | bytes, ...], deadline: Deadline | None = None) -> Any:
        """Do an operation whose reply depends on which nodes are alive."""
        self._heartbeat.catch_up(deadline)
        return self._commands.run(*words, deadline=deadline)

    # -- see `Bus` ---------------------------------------------------------------------------------------------------

    def publish(self, publication: Publication) -> None:
        """Append an entry to the log."""
        self._commands.run("publish", publication.to_record())

    def send(self, node: str, record: bytes, deadline: Deadline | None) -> bool:
        """Send a message to another node; return false where it is gone."""
        return bool(self._ask(("send", encode_text(node), record), deadline))

    def join(self, room: str, member: Member) -> None:
        """Store a member of this node."""
        self._heartbeat.join(room, member.id, member_record(member))

    def leave(self, room: str, id: str) -> None:
        """Remove a member, as soon as Redis answers."""
        self._heartbeat.leave(room, id)

    def members(self, room: str, deadline: Deadline | None) -> list[Member]:
        """Return the members of a room, in the order in which they joined."""
        reply = self._ask(("members", encode_text(room)), deadline)
        found = valid(zip(reply[::2], reply[1::2], strict=True), _member, self.place)
        return [member for _, member in sorted(found, key=lambda each: each[0])]

    def count(self, room: str) -> int:
        """Return the number of members."""
        return int(self._ask(("count", encode_text(room))))

    def add_server(self, server: str) -> None:
        """Add a server of this node."""
        self._heartbeat.add_server(server)

    def remove_server(self, server: str) -> None:
        """Remove a server of this node, as soon as Redis answers."""
        self._heartbeat.remove_server(server)

    def servers(self) -> list[str]:
        """Return all servers, by name."""
        return sorted(valid(self._ask(("servers",)), bytes.decode, self.place))


def _member(stored: tuple[bytes, bytes]) -> tuple[tuple[int, ...], Member]:
    """Return a member, and when it joined."""
    at, _, text = stored[1].partition(b" ")
    return LogEnd(id=at.decode()).order, member_of(stored[0], text)


class RedisHub(Hub):
    """The hub of servers on any number of machines, which share a Redis.

    A node resumes after an outage of Redis where it was: it misses nothing that Redis has kept, and tells what Redis
    has not kept to the handlers of `on_gap`. While Redis does not answer, each use is tried for 10 seconds.

    Args:
        url_or_client: ``redis://``, ``rediss://`` (TLS), ``unix://``, or
            ``redis+sentinel://host:port,host:port/0/name``; or a client of redis-py, such as that of a cluster. Its
            timeouts are its own.
        prefix: of all keys. The hubs with the same one are one hub.
        maxlen: events and changes of presence that the log keeps, for nodes that are away.
        heartbeat: seconds between two signs of life of a node, the same for all nodes. A node that has sent none for
            three times as long is dead.
    """

    def __init__(
        self, url_or_client: Any, *, prefix: str = "owlsocket", maxlen: int = 10_000, heartbeat: float = 5.0
    ) -> None:
        if type(maxlen) is not int or maxlen < 1:
            raise ValueError(f"maxlen must be a whole number, 1 or more, not {maxlen!r}")
        if not isinstance(prefix, str) or not prefix or set(prefix) & set("{}"):
            raise ValueError(f"prefix must be a text that is not empty, without braces, not {prefix!r}")
        if isinstance(heartbeat, bool) or not isinstance(heartbeat, (int, float)) or not 0.01 <= heartbeat <= 3600:
            raise ValueError(f"heartbeat must be seconds, from 0.01 to 3600, not {heartbeat!r}")
        self._redis_bus = RedisBus(url_or_client, prefix, maxlen, heartbeat)
        super().__init__(self._redis_bus)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.node} {self._redis_bus.place}{' closed' if self._closed else ''}>"
