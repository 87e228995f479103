"""Verbs whose results have the types of the connection's: calls and proxies of the frameworks' clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ..connection import Connection
from ..protocol.pending import CallFuture

if TYPE_CHECKING:
    from typing_extensions import TypeForm

Interface = TypeVar("Interface")
Result = TypeVar("Result")


class TypedVerbs:
    """Calls on the connection that a subclass supplies; each raises what `Connection.call` raises, and its errors."""

    __slots__ = ()

    def _use(self, timeout: float | None = None) -> tuple[Connection, float | None]:
        """Return the connection for one use, and the timeout that is left for the use after connecting."""
        raise NotImplementedError

    @overload
    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: None = None, retry: bool = False
    ) -> Any: ...
    @overload
    def call(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: TypeForm[Result],
        retry: bool = False,
    ) -> Result: ...
    @overload
    def call(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: Callable[[Any], Result],
        retry: bool = False,
    ) -> Result: ...

    def call(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> Any:
        """`Connection.call`: call a method of the peer, and wait for the answer."""
        connection, timeout = self._use(timeout)
        return connection.call(method, *payload, timeout=timeout, result_type=result_type, retry=retry)

    @overload
    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: None = None, retry: bool = False
    ) -> CallFuture[Any]: ...
    @overload
    def submit(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: TypeForm[Result],
        retry: bool = False,
    ) -> CallFuture[Result]: ...
    @overload
    def submit(
        self,
        method: str,
        *payload: Any,
        timeout: float | None = None,
        result_type: Callable[[Any], Result],
        retry: bool = False,
    ) -> CallFuture[Result]: ...

    def submit(
        self, method: str, *payload: Any, timeout: float | None = None, result_type: Any = None, retry: bool = False
    ) -> CallFuture[Any]:
        """`Connection.submit`: call a method without waiting for the answer."""
        connection, timeout = self._use(timeout)
        return connection.submit(method, *payload, timeout=timeout, result_type=result_type, retry=retry)

    def proxy(self, interface: TypeForm[Interface], prefix: str = "") -> Interface:
        """`Connection.proxy`: create an object whose methods are calls, on the connection of this moment."""
        return self._use()[0].proxy(interface, prefix)
