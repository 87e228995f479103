"""What tests of compression share: payloads that compress well, and frames with the bit of a deflated message."""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Mapping
from typing import Any

from support.sockets import TEXT, frame

RSV1 = 4
"""The first of the reserved bits, for the argument ``rsv`` of `support.sockets.frame`."""


def json_rows(size: int) -> bytes:
    """About so many bytes of JSON, as an application sends it: rows with the same keys and different values."""
    dice = random.Random(size)
    rows: list[Mapping[str, object]] = []
    length = 2
    while length < size:
        rows.append(
            {
                "id": len(rows) + 1000,
                "name": f"{dice.choice(['Ada', 'Grace', 'Edsger', 'Barbara'])} {dice.randrange(10**6)}",
                "active": dice.random() < 0.5,
                "score": round(dice.random() * 100, 3),
                "tags": dice.sample(["red", "green", "blue", "amber"], 2),
            }
        )
        length += len(json.dumps(rows[-1])) + 2
    return json.dumps(rows).encode()


def deflate(data: bytes, level: int = 6, bits: int = 15, flush: int = zlib.Z_SYNC_FLUSH) -> bytes:
    """The blocks that zlib makes, all of them."""
    deflater = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return deflater.compress(data) + deflater.flush(flush)


def deflated(data: bytes | str) -> bytes:
    """The payload of a deflated message."""
    return deflate(data.encode() if isinstance(data, str) else data)[:-4]


def deflated_frame(data: bytes | str, **options: Any) -> bytes:
    """A frame with a deflated text."""
    return frame(TEXT, deflated(data), rsv=RSV1, **options)
