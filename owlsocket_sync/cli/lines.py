"""Lines of a file, a pipe or a terminal, read by a thread that may be left behind at exit.

Python's own buffered files hold a lock while they wait for bytes, and the interpreter aborts when it ends meanwhile;
bytes are read from the descriptor here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

READ_SIZE = 65_536


def read_lines(descriptor: int) -> Iterator[bytes]:
    """Each line without its end, as soon as it is there.

    Raises:
        OSError: it cannot be read on.
    """
    pieces: list[bytes] = []
    while data := os.read(descriptor, READ_SIZE):
        first, *lines = data.split(b"\n")
        pieces.append(first)
        for line in lines:
            yield b"".join(pieces)
            pieces = [line]
    if last := b"".join(pieces):
        yield last
