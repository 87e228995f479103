"""The attributes of spans and measurements, by the semantic conventions for RPC and messaging.

Nothing here needs OpenTelemetry: values of the connection in, names and values out.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from ..connection import Connection
from ..errors import ResilientError
from ..protocol.hooks import Operation, Outcome

SYSTEM = "owlsocket"
DEFAULT_PORTS = {"ws": 80, "wss": 443}


def has_failed(outcome: Outcome) -> bool:
    """Return whether the operation failed; a call that its caller cancelled did not."""
    return outcome.error is not None or outcome.status not in ("ok", "cancelled")


def error_attributes(outcome: Outcome) -> dict[str, str]:
    """Return the attribute of an operation that failed."""
    return {"error.type": error_class(outcome)} if has_failed(outcome) else {}


def error_class(outcome: Outcome) -> str:
    """Return the class of the error, or the status where there is none."""
    # The class, not the wire type: a peer can invent any number of types, and each would be a new time series.
    return outcome.status if outcome.error is None else type(outcome.error).__name__


def status_code(outcome: Outcome) -> str:
    """Return the status of a call."""
    error = outcome.error
    return error.code if isinstance(error, ResilientError) else outcome.status.upper()


def rpc_attributes(call: Operation) -> dict[str, Any]:
    """Return the attributes of a call, or of a request."""
    return {"rpc.system.name": SYSTEM, "rpc.method": str(call.name)}


def messaging_attributes(operation: str, event: str) -> dict[str, Any]:
    """Return the attributes of an event that is sent or handled."""
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": event,
    }


def address_attributes(role: str, connection: Connection) -> dict[str, Any]:
    """Return the attributes of the peer in its role, and the name of the connection."""
    parts = urlsplit(connection.url)
    # The conventions want a port for each address, the default port of the scheme included.
    port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    attributes = {f"{role}.address": parts.hostname, f"{role}.port": port, "owlsocket.connection.name": connection.name}
    return {key: value for key, value in attributes.items() if value is not None}


def server_attributes(connection: Connection) -> dict[str, Any]:
    """Return the attributes of the peer for metrics."""
    # Without the addresses of clients: there may be any number of them, and each would be a new time series.
    if connection.accepted:
        return {}
    attributes = address_attributes("server", connection)
    # Spans tell connections apart; a time series for each name would never end where names are generated.
    del attributes["owlsocket.connection.name"]
    return attributes
