"""grpc: a unary call with JSON messages, by `orjson`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
import orjson

from . import Address

LARGEST = 1 << 30
OPTIONS = [("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)]


class Grpc:
    """One channel."""

    def __init__(self, address: Address) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{address.port}", OPTIONS)
        self._echo = self._channel.unary_unary("/benchmarks.Echo/echo", orjson.dumps, orjson.loads)

    def call(self, method: str, *payload: Any) -> Any:
        """Call, and wait for the answer."""
        return self._echo(payload[0])

    def submit_all(self, count: int, payload: Any) -> Sequence[Any]:
        """So many futures of its own."""
        return [self._echo.future(payload) for _ in range(count)]
