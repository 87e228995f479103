"""Two ends of acknowledged delivery in one thread: stores in memory, links that are lists, and what goes wrong."""

from __future__ import annotations

import copy
import itertools
from collections import deque
from dataclasses import dataclass, field

from owlsocket_sync.protocol.hello import Frame, Skip, StreamBounds, StreamPosition, read_frame, write_frame
from owlsocket_sync.protocol.incoming_stream import MovePosition, Numbered, StoreMessages, StoreOutcome, TellLost
from owlsocket_sync.protocol.outgoing_stream import BuryMessage, DeleteTo, RenewStream, SendState, Waiting
from owlsocket_sync.protocol.reliable import Action, BarrierPing, ReliableEnd

POISON = -1
Wire = tuple[str, object] | Numbered | BarrierPing | str


class Outbox:
    """The outbox of a sender, which survives its process."""

    _names = itertools.count()

    def __init__(self) -> None:
        self.stream, self.next, self.acked = f"stream-{next(self._names)}", 1, StreamPosition("", 0)
        self.rows: dict[int, tuple[str, int]] = {}
        self.dead: list[int] = []

    def put(self, payload: int, id: str | None = None) -> None:
        self.rows[self.next] = id or f"id-{next(self._names)}", payload
        self.next += 1

    def bounds(self) -> StreamBounds:
        return StreamBounds(self.stream, self.acked.offset + 1, self.next, self.acked.last)

    def find_last(self, offset: int) -> StreamPosition | None:
        seq = max((seq for seq in self.rows if seq <= offset), default=0)
        return StreamPosition(self.stream, seq, self.rows[seq][0]) if seq else self.acked

    def delete_to(self, offset: int) -> None:
        last = self.acked.last
        for seq in [seq for seq in self.rows if seq <= offset]:
            last = self.rows.pop(seq)[0]
        self.acked = StreamPosition(self.stream, offset, last)

    def renew(self) -> None:
        left = [self.rows[seq] for seq in sorted(self.rows)]
        self.stream, self.acked, self.next = f"stream-{next(self._names)}", StreamPosition("", 0), len(left) + 1
        self.rows = dict(enumerate(left, 1))


@dataclass
class Inbox:
    """The inbox of a receiver, which survives its process."""

    room: int = 1_000_000
    positions: dict[str, StreamPosition] = field(default_factory=dict)
    log: list[int] = field(default_factory=list)

    def position(self, stream: str) -> StreamPosition | None:
        return self.positions.get(stream)

    def done(self, stream: str) -> StreamPosition | None:
        return None

    def store(self, step: StoreMessages) -> tuple[int, StoreOutcome]:
        if self.positions.get(step.after.stream) != step.after:
            return 0, StoreOutcome.MOVED
        for count, message in enumerate(step.messages):
            if message.payload == POISON:
                return count, StoreOutcome.INVALID
            if not self.room:
                return count, StoreOutcome.FULL
            self.room -= 1
            self.log.append(message.payload)
            self.positions[step.after.stream] = StreamPosition(step.after.stream, message.seq, message.id)
        return len(step.messages), StoreOutcome.STORED

    def move(self, step: MovePosition) -> bool:
        if self.positions.get(step.to.stream) != step.after:
            return False
        self.positions[step.to.stream] = step.to
        return True


class Side:
    """One end of one link: it carries out what its machine says, and its frames gather in ``out``."""

    def __init__(self, outbox: Outbox | None, inbox: Inbox | None, *, asks: bool) -> None:
        self.outbox, self.inbox = outbox, inbox
        self.machine = ReliableEnd(outbox, inbox, asks=asks)
        self.out: deque[Wire] = deque()
        self.losses: list[TellLost] = []
        self.asks = asks

    @property
    def state(self) -> SendState:
        assert self.machine.outgoing is not None
        return self.machine.outgoing.state

    def do(self, actions: list[Action]) -> None:
        waiting = deque(actions)
        while waiting:
            waiting.extend(self._do(waiting.popleft()))
        self.pump()

    def _do(self, action: Action) -> list[Action]:
        outbox, inbox, machine = self.outbox, self.inbox, self.machine
        if isinstance(action, BarrierPing):
            self.out.append(action)
        elif isinstance(action, TellLost):
            self.losses.append(action)
        elif isinstance(action, DeleteTo) and outbox is not None:
            # Another link of the same process may have renewed the stream.
            if action.stream == outbox.stream:
                outbox.delete_to(action.offset)
        elif isinstance(action, RenewStream) and outbox is not None:
            if action.stream == outbox.stream:
                outbox.renew()
            return machine.renewed()
        elif isinstance(action, BuryMessage) and outbox is not None:
            if action.stream == outbox.stream and action.seq in outbox.rows:
                outbox.dead.append(outbox.rows.pop(action.seq)[1])
        elif isinstance(action, StoreMessages) and inbox is not None:
            return machine.stored(action, *inbox.store(action))
        elif isinstance(action, MovePosition) and inbox is not None:
            return machine.moved(action, inbox.move(action))
        else:
            self.send(action)  # type: ignore[arg-type]
        return []

    def send(self, frame: Frame) -> None:
        self.out.append(write_frame(frame))

    def pump(self) -> None:
        outgoing, outbox = self.machine.outgoing, self.outbox
        if outgoing is None or outbox is None:
            return
        while room := outgoing.room():
            following = outbox.bounds().next
            waiting = [Waiting(seq, 1) for seq in sorted(outbox.rows) if seq > outgoing.sent][:room]
            for each in outgoing.send(waiting, following):
                if isinstance(each, Skip):
                    self.send(each)
                else:
                    self.out.append(Numbered(each.seq, *outbox.rows[each.seq]))
            if not waiting:
                break
        if outgoing.needs_ping():
            self.out.append(BarrierPing.PING)

    def take(self, wire: Wire) -> None:
        if isinstance(wire, Numbered):
            self.do(self.machine.messages([wire]))
        elif wire is BarrierPing.PING:
            self.out.append("pong")
        elif wire == "pong":
            self.do(self.machine.pong())
        elif isinstance(wire, tuple):
            event, payload = wire
            self.do(self.machine.receive(read_frame(event, payload)))


class Legacy:
    """An end of the reference: it queues messages, and answers pings in their order."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.out: deque[Wire] = deque()

    def take(self, wire: Wire) -> None:
        if isinstance(wire, Numbered):
            self.inbox.log.append(wire.payload)
        elif wire is BarrierPing.PING:
            self.out.append("pong")

    def pump(self) -> None:
        """Send nothing by itself."""


class Link:
    """Two ends whose frames are crossed, one at a time."""

    def __init__(self, client: Side, server: Side | Legacy) -> None:
        self.client, self.server = client, server
        client.do([*client.machine.announce(), *client.machine.greet()])
        if isinstance(server, Side):
            server.do(server.machine.greet())

    def step(self, to_server: bool) -> bool:
        """Deliver one frame; return whether there was one."""
        source, target = (self.client, self.server) if to_server else (self.server, self.client)
        if not source.out:
            return False
        target.take(source.out.popleft())
        return True

    def retire(self) -> None:
        """Take the outbox away from a server's end: another link sends from it now."""
        if isinstance(self.server, Side):
            self.server.machine.outgoing = None

    def run(self, limit: int = 100_000) -> None:
        """Deliver all frames until nothing is left to say."""
        for _ in range(limit):
            self.client.pump()
            self.server.pump()
            if not (self.step(True) or self.step(False)):
                return
        raise AssertionError("they never come to an end")


def snapshot(*stores: object) -> tuple[object, ...]:
    """Back stores up."""
    return copy.deepcopy(stores)


def restore(store: object, backup: object) -> None:
    """Make a store what it was at its backup."""
    vars(store).update(copy.deepcopy(vars(backup)))


@dataclass
class Direction:
    """What one outbox was given, and what the inbox at the other end has to show for it."""

    outbox: Outbox
    inbox: Inbox
    alive: list[int] = field(default_factory=list)
    earlier: list[int] = field(default_factory=list)
    losses: int = 0

    def put(self, number: int) -> None:
        self.outbox.put(number)
        if number != POISON:
            self.alive.append(number)

    def check(self, sender_restored: bool, receiver_restored: bool) -> None:
        """Nothing is lost in silence; without backups, each message is there once, and in its order."""
        assert not self.outbox.rows
        missing = set(self.alive) - set(self.inbox.log)
        assert missing <= set(self.earlier), "lost in silence"
        assert len(missing) <= self.losses, "more is lost than was told"
        if not receiver_restored:
            assert not missing
        if not (sender_restored or receiver_restored):
            assert self.inbox.log == self.alive
            assert not self.losses


class World:
    """A client and a server, their stores and backups, the link between them, and what is left of earlier links."""

    def __init__(self, room: int, legacy: bool = False) -> None:
        self.up, self.down = Direction(Outbox(), Inbox(room)), Direction(Outbox(), Inbox(room))
        self.legacy, self.number = legacy, 0
        self.link: Link | None = None
        self.old: list[Link] = []
        self.sides: list[Side] = []
        self.restored = {"client": False, "server": False}
        self.backups = {name: (snapshot(*self.stores(name)), self.alive(name)) for name in ("client", "server")}

    def stores(self, name: str) -> tuple[object, object]:
        sends, receives = (self.up, self.down) if name == "client" else (self.down, self.up)
        return sends.outbox, receives.inbox

    def alive(self, name: str) -> list[int]:
        return list((self.up if name == "client" else self.down).alive)

    # -- what happens --------------------------------------------------------------------------------------------------

    def connect(self) -> None:
        self.leave(keeps_arriving=True)
        client = Side(self.up.outbox, None if self.legacy else self.down.inbox, asks=True)
        if self.legacy:
            self.link = Link(client, Legacy(self.up.inbox))
            return
        for old in self.old:
            old.retire()  # the outbox belongs to the newest link
        server = Side(self.down.outbox, self.up.inbox, asks=False)
        self.sides += [client, server]
        self.link = Link(client, server)

    def leave(self, keeps_arriving: bool) -> None:
        """Cut the link; what the client sent on it may still arrive at the server, which does not know of the cut."""
        if self.link is not None and keeps_arriving:
            self.old.append(self.link)
        self.link = None

    def kill(self, name: str) -> None:
        self.leave(keeps_arriving=name == "client")
        if name == "server":
            self.old.clear()

    def put(self, direction: Direction, poison: bool) -> None:
        self.number += 1
        direction.put(POISON if poison else self.number)
        if self.link is not None:
            self.link.client.pump()
            self.link.server.pump()

    def consume(self, count: int) -> None:
        for direction in (self.up, self.down):
            direction.inbox.room += count
        if self.link is not None and isinstance(self.link.server, Side):
            for side in (self.link.client, self.link.server):
                side.do(side.machine.room())

    def arrive_late(self, choice: int) -> None:
        """Deliver a frame of an earlier link; what the server answers goes nowhere."""
        if self.old:
            old = self.old[choice % len(self.old)]
            old.step(True)
            old.server.out.clear()

    def back_up(self, name: str) -> None:
        self.backups[name] = snapshot(*self.stores(name)), self.alive(name)

    def restore(self, name: str) -> None:
        self.kill(name)
        stores, alive = self.backups[name]
        sends, receives = (self.up, self.down) if name == "client" else (self.down, self.up)
        receives.earlier += receives.inbox.log
        for store, backup in zip(self.stores(name), stores, strict=True):
            restore(store, backup)
        sends.alive[:] = alive
        self.restored[name] = True

    def step(self, roll: int) -> None:
        """Let one of these happen; ``roll`` is below 1000."""
        kind, choice = divmod(roll, 10)
        name = ("client", "server")[choice % 2]
        if kind < 30:
            self.put(self.up if choice % 2 or self.legacy else self.down, poison=choice > 8 and not self.legacy)
        elif kind < 74:
            if self.link is not None:
                self.link.step(choice % 2 == 0)
        elif kind < 79:
            self.arrive_late(choice)
        elif kind < 83:
            self.consume(choice)
        elif kind < 90:
            self.connect()
        elif kind < 92:
            self.leave(keeps_arriving=choice % 2 == 0)
        elif kind < 95:
            self.kill(name)
        elif kind < 97:
            self.back_up(name)
        elif kind < 99 and self.backs_up:
            self.restore(name)

    backs_up = False

    def drain(self, link: Link) -> None:
        """Let all arrive that waits, now that there is room."""
        self.consume(1_000_000)
        link.run()
        assert not self.up.outbox.rows
        assert self.legacy or not self.down.outbox.rows

    def end(self) -> None:
        """Let everything arrive that can, and look at what is there."""
        self.old.clear()
        if self.link is not None:
            self.drain(self.link)  # without another link: what is under way must not be stuck
        self.link = None
        self.connect()
        assert self.link is not None
        self.drain(self.link)
        if self.legacy:
            assert not self.up.outbox.rows
            assert set(self.up.alive) <= set(self.up.inbox.log)
            return
        self.up.losses, self.down.losses = (
            sum(loss.count for side in self.sides[first::2] for loss in side.losses) for first in (1, 0)
        )
        self.up.check(self.restored["client"], self.restored["server"])
        self.down.check(self.restored["server"], self.restored["client"])
