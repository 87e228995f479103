"""rpyc: a remote function, bound once; its arguments are plain values, which travel whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import rpyc

from . import Address


class Rpyc:
    """Its connection with the options that it has by default."""

    def __init__(self, address: Address) -> None:
        self._connection = rpyc.connect("127.0.0.1", address.port)
        self._echo = self._connection.root.echo
        self._echo_later = rpyc.async_(self._echo)

    def call(self, method: str, *payload: Any) -> Any:
        """Call, and wait for the answer."""
        return self._echo(*payload)

    def submit_all(self, count: int, payload: Any) -> Sequence[Any]:
        """So many asynchronous calls."""
        return [_Result(self._echo_later(payload)) for _ in range(count)]


class _Result:
    def __init__(self, result: Any) -> None:
        self._result = result

    def result(self) -> Any:
        return self._result.value
