"""Bytes that were captured and are not done with yet: taken, and taken again, until whoever took them says so.

Threads: it belongs to whoever holds the link's reading lock. Each change is made in one step, so that an interrupt
finds the bytes either as they were or as they are to be.
"""

from __future__ import annotations


class Starved(Exception):
    """There is less than what is to be taken."""


class Unread:
    """What was captured.

    Attributes:
        block: where it is; whoever captures appends to what came ``later``.
    """

    __slots__ = ("block",)

    def __init__(self, data: bytes = b"") -> None:
        self.block = Block(data, 0)

    def __bool__(self) -> bool:
        block = self.block
        return bool(block.later) or block.done < len(block.data)

    def take(self, size: int) -> bytes:
        """The next so many bytes.

        Raises:
            Starved: fewer are there; none was taken.
        """
        block = self.block
        end = block.position + size
        if end > len(block.data):
            block = self._join(size)
            end = block.position + size
        chunk = block.data[block.position : end]
        block.position = end
        return chunk

    def take_up_to(self, size: int) -> bytes:
        """The next so many bytes, or all that there are."""
        block = self._join(0) if self.block.later else self.block
        return self.take(min(size, len(block.data) - block.position))

    def _join(self, size: int) -> Block:
        """Make one piece of all, if that is enough; what is done with is dropped."""
        block = self.block
        data, later, done = block.data, block.later, block.done
        if len(data) - block.position + sum(map(len, later)) < size:
            raise Starved
        whole = later[0] if done == len(data) and len(later) == 1 else b"".join([data[done:], *later])
        joined = Block(whole, block.position - done)
        self.block = joined
        return joined

    def commit(self) -> None:
        """Be done with what was taken."""
        block = self.block
        block.done = block.position

    def put_back(self, data: bytes) -> None:
        """Have these be the next bytes; before anything else was captured."""
        self.block = Block(data, 0)


class Block:
    """Bytes in one piece, done with up to one place and taken up to another, and those that came later."""

    __slots__ = ("data", "done", "later", "position")

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.later: list[bytes] = []
        self.done = 0
        self.position = position
