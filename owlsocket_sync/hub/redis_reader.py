"""`RedisReader`: the thread of a node that reads its hub: the log, and the messages to the node, by one blocking read.

It resumes at the last entry that it has read, whatever happened to Redis meanwhile. Each entry has its epoch and its
number, so it sees by the next one what it has missed, and tells it as a `Gap`.

Threads: the reader itself, and the one that sends the heartbeats, which tells it of another epoch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from os import getpid
from typing import Any

from ..errors import SocketMessageMalformed
from ..errors.safe_text import logger, safe_str
from ..fork import end_inherited_thread
from ..protocol.log_throttle import LogThrottle
from ..redis.client import ERRORS
from ..redis.link import FIRST_PAUSE, LONGEST_PAUSE
from ..values import escape_for_log
from .base import BusEvents
from .records import decode_text, member_of
from .redis_commands import HubLink, LogEnd
from .requests import as_reader
from .values import JOIN, LEAVE, UPDATE, Gap, PresenceChange, Publication

LONGEST_BLOCK = 2.0
"""Seconds of one read; less than the timeout of the socket, which finds a link that is half open."""
ENTRIES = 200
"""Entries that one read returns at most, of each stream."""

EMPTIED = "Redis has lost entries of the log: it was emptied, or has an older state than before"
TRIMMED = "the log was trimmed before this process had read it; it reads too slowly, or maxlen is too small"


class RedisReader:
    """Reads the hub for one node.

    Args:
        link: to Redis.
        keys: of the log, and of the messages to the node.
        events: the node.
        end: the entry after which it begins.
        lost_entries: called with the epoch in which Redis is seen to have less than it had.

    Attributes:
        end: the last entry that was read.
        stop: set for the thread to end once it has read another entry.
    """

    def __init__(
        self,
        link: HubLink,
        keys: tuple[str, str],
        events: BusEvents,
        end: LogEnd,
        lost_entries: Callable[[str], object],
    ) -> None:
        self._link = link
        self._log, self._messages = (key.encode() for key in keys)
        self._events = events
        self.end = end
        self._lost_entries = lost_entries
        self._position, self._message = end.id, "0-0"
        self._epoch_to_find: str | None = None
        self._found = end.epoch
        self._ended_epoch: str | None = None
        self._throttle = LogThrottle()
        self._process = getpid()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="owlsocket-hub-reader", daemon=True)

    def find(self, epoch: str) -> None:
        """Have the log read from its beginning, as far as it is of this epoch: its ids may be lower than before."""
        self._epoch_to_find = epoch

    def _run(self) -> None:
        with as_reader():
            self._read_all()
        if getpid() != self._process:
            end_inherited_thread()
        else:
            self._link.close_if_closed()

    def _read_all(self) -> None:
        pause = FIRST_PAUSE
        while not self.stop.is_set():
            try:
                self._read()
                pause = FIRST_PAUSE
            except Exception as error:  # whatever it is, the next entries are read
                if getpid() != self._process:
                    break
                if isinstance(error, ERRORS):
                    self._link.report(error)
                elif not self.stop.is_set():
                    logger.exception("reading the hub failed")
                self.stop.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            if getpid() != self._process:
                break

    def _read(self) -> None:
        if self._epoch_to_find is not None:
            self._found, self._epoch_to_find = self._epoch_to_find, None
            self._position = self._message = "0-0"
        block = round(1000 * min(LONGEST_BLOCK, self._link.read_timeout / 2))
        words = ("XREAD", "COUNT", ENTRIES, "BLOCK", block, "STREAMS", self._log, self._messages)
        reply = self._link.run_command(*words, self._position, self._message)
        if self.stop.is_set() or getpid() != self._process:
            return
        self._link.note_answer()
        for stream, entries in streams_of(reply):
            take = self._take_entry if stream == self._log else self._take_message
            for id, fields in entries:
                try:
                    take(id.decode(), fields)
                except (SocketMessageMalformed, KeyError, ValueError, TypeError) as error:
                    self._log_broken(error)
        self._events.deliver()

    def _log_broken(self, error: Exception) -> None:
        omitted = self._throttle.admit(type(error).__name__)
        if omitted is not None:
            logger.error(
                "%s: an entry of the hub was dropped, it is not valid (%d more before): %s",
                self._link.place,
                omitted,
                escape_for_log(safe_str(error)),
            )

    # -- entries -----------------------------------------------------------------------------------------------------

    def _take_message(self, id: str, fields: Mapping[bytes, bytes]) -> None:
        self._message = id
        # Those of an epoch before were read, or came before Redis lost what it had: a call is not made twice.
        if fields[b"at"].decode() == self._found:
            self._events.receive(fields[b"message"])

    def _take_entry(self, id: str, fields: Mapping[bytes, bytes]) -> None:
        self._position = id
        epoch, _, number = fields[b"at"].decode().partition(" ")
        if self._check(LogEnd(epoch, int(number), id)):
            self._tell(fields)

    def _check(self, entry: LogEnd) -> bool:
        """Note an entry, and tell what was missed before it; return false for one that was read before."""
        last = self.end
        is_next = entry.epoch == last.epoch and entry.number == last.number + 1
        is_read_again = self._found not in (last.epoch, entry.epoch)
        if is_read_again and not is_next and (entry.epoch != last.epoch or entry.number <= last.number):
            return False
        self.end = entry
        if entry.epoch != last.epoch:
            self._found = entry.epoch
            # The loss that this node has seen first, and told: another epoch is how the others are told.
            if last.epoch != self._ended_epoch or entry.number != last.number + 1:
                self._events.gap(Gap(EMPTIED))
        elif entry.number <= last.number:
            self._events.gap(Gap(EMPTIED))
            self._ended_epoch = entry.epoch
            self._lost_entries(entry.epoch)
        elif not is_next:
            self._events.gap(Gap(TRIMMED, entry.number - last.number - 1))
        return True

    def _tell(self, fields: Mapping[bytes, bytes]) -> None:
        if b"event" in fields:
            self._events.append(Publication.from_record(fields[b"event"]))
        elif b"presence" in fields:
            kind, room = fields[b"presence"].decode(), decode_text(fields[b"room"])
            if kind not in (JOIN, UPDATE, LEAVE):
                raise ValueError(f"not a change of presence: {kind!r}")
            self._events.append(PresenceChange(kind, room, member_of(fields[b"id"], fields[b"member"])))
        elif b"gone" in fields:
            self._events.node_lost(fields[b"gone"].decode())


def streams_of(reply: Any) -> Iterator[tuple[bytes, list[tuple[bytes, Mapping[bytes, bytes]]]]]:
    """Yield each stream with its entries, in whichever protocol a client speaks."""
    for stream, entries in reply.items() if isinstance(reply, dict) else reply or ():
        # With RESP3 the entries are in one more list.
        yield stream, entries[0] if entries and isinstance(entries[0], list) else entries
