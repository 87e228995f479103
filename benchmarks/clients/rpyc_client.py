"""rpyc: a remote function, looked up once; its arguments are plain values, which are sent by value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rpyc

from . import Address


class Rpyc:
    """An rpyc connection with the default options."""

    def __init__(self, address: Address) -> None:
        self._connection = rpyc.connect("127.0.0.1", address.port)
        self._echo = self._connection.root.echo
        self._echo_later = rpyc.async_(self._echo)

    def call(self, method: str, *payload: Any) -> Any:
        """Call the function, and wait for its result."""
        return self._echo(*payload)

    def submit_all(self, count: int, payload: Any) -> Sequence[Any]:
        """Start the calls with `rpyc.async_`."""
        return [_Result(self._echo_later(payload)) for _ in range(count)]


class _Result:
    def __init__(self, result: Any) -> None:
        self._result = result

    def result(self) -> Any:
        return self._result.value
