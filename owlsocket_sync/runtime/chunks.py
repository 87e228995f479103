"""The frames of a batch, encoded in pieces while they are sent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ..transport.frames import TEXT
from ..transport.framing import Framing

CHUNK_SIZE = 32_768


def encode_chunks(framing: Framing, messages: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the frames of text messages in chunks: the peer works on the first while the next ones are encoded."""
    return join_chunks(framing.frame(TEXT, message) for message in messages)


def deflate_messages(framing: Framing, messages: Sequence[bytes]) -> tuple[bytes, Iterator[bytes] | None, int]:
    """Return the frames of text messages that may be deflated: the first chunk, the others if any, and their size.

    All of them are encoded now, on the thread that sends them: it holds no lock yet, as it does while it sends chunks.
    """
    encoded = [framing.text_frame(message) for message in messages]
    chunks = list(join_chunks(frame for frame, _ in encoded))
    return chunks[0], iter(chunks[1:]) if len(chunks) > 1 else None, sum(size for _, size in encoded)


def join_chunks(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Yield frames in chunks."""
    chunk: list[bytes] = []
    size = 0
    for frame in frames:
        chunk.append(frame)
        size += len(frame)
        if size >= CHUNK_SIZE:
            yield b"".join(chunk)
            chunk, size = [], 0
    if chunk:
        yield b"".join(chunk)
