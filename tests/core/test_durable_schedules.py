"""Two connections with queues in stores under random schedules: frames that are lost with their link, and consumers."""

from __future__ import annotations

import random
from typing import Any

import pytest

from owlsocket_sync import Limits
from owlsocket_sync.stores import MemoryStore
from owlsocket_sync.stores.memory import MemoryQueue
from support.durable import DurableEnd, DurablePair, received, tick
from support.helpers import examples


class Play:
    """A pair with queues in both directions, and what became of what was enqueued."""

    def __init__(self, seed: int) -> None:
        self.source = random.Random(seed)
        self.limit = self.source.choice([5, 30])
        near, far = MemoryStore(max_messages=self.limit), MemoryStore(max_messages=self.limit)
        self.near, self.far = near, far
        self.pair = DurablePair(
            (near.queue("in"), near.queue("out")), (far.queue("in"), far.queue("out")), Limits(message_size=10_000)
        )
        self.put: dict[str, list[int]] = {"up": [], "down": []}
        self.got: dict[str, list[int]] = {"up": [], "down": []}
        self.is_up = True
        self.number = 0

    def ends(self, direction: str) -> tuple[DurableEnd, DurableEnd]:
        """Who sends and who receives."""
        pair = self.pair
        return (pair.client, pair.server) if direction == "up" else (pair.server, pair.client)

    def step(self) -> None:
        """Let one thing happen."""
        kind, direction = self.source.random(), self.source.choice(["up", "down"])
        sender, receiver = self.ends(direction)
        store = self.near if direction == "up" else self.far
        if kind < 0.45:
            if len(store.queue("out")) < self.limit:
                self.number += 1
                if self.source.random() < 0.8:
                    sender.connection.enqueue(self.number)
                else:
                    store.queue("out").put(self.number)
                self.put[direction].append(self.number)
        elif kind < 0.65:
            message: Any = receiver.connection.consume(ack=False)
            if message is not None:
                if self.source.random() < 0.8:
                    message.ack()
                    self.got[direction].append(message.payload)
                else:
                    message.nack(delay=0)
        elif kind < 0.75:
            # From here on all that one end says is lost; then the link is.
            sender.carrier.message_filter = lambda frame: False
        elif kind < 0.85 and self.is_up:
            self.pair.cut()
            self.is_up = False
        elif kind < 0.95 and not self.is_up:
            self.restore()
        else:
            tick(self.source.choice([sender, receiver]))

    def restore(self) -> None:
        """Open another link."""
        for end in (self.pair.client, self.pair.server):
            end.carrier.message_filter = None
        self.pair.restore()
        self.is_up = True

    def end(self) -> None:
        """Let all arrive, and be worked on."""
        if self.is_up:
            self.pair.cut()
        self.restore()
        for _ in range(200):
            if all(self.got[direction] == self.put[direction] for direction in self.put):
                break
            for direction, store in (("up", self.far), ("down", self.near)):
                self.got[direction] += received(store.queue("in"))
                for end in self.ends(direction):
                    tick(end)
        for end in (self.pair.server, self.pair.client):
            tick(end)
        assert self.got == self.put
        assert len(self.near.queue("out")) == len(self.far.queue("out")) == 0
        assert [*self.pair.client.errors, *self.pair.server.errors] == []


@pytest.mark.timeout(600)  # thousands of schedules, where coverage traces them
@pytest.mark.parametrize("is_volatile", [True, False], ids=["acks-of-work", "acks-of-storing"])
def test_whatever_happens_each_message_is_worked_on_once_and_in_order(
    is_volatile: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both directions, whoever adds to the outbox, with inboxes that are full, and whatever is lost with a link."""
    monkeypatch.setattr(MemoryQueue, "is_volatile", is_volatile)
    count = 0
    for seed in range(examples(60, 2000)):
        play = Play(seed)
        for _ in range(play.source.randrange(10, 90)):
            play.step()
        play.end()
        count += play.number
    assert count > 500
