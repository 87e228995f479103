"""The subprotocol of a link, selected among those that its client offers (RFC 6455, section 4.2.2)."""

from __future__ import annotations

from collections.abc import Sequence


class NoCommonSubprotocol(ValueError):
    """A client offers subprotocols, none of which the server has; it is rejected with HTTP 400."""


def select_subprotocol(known: Sequence[str] | None, offered: Sequence[str]) -> str | None:
    """Return the subprotocol for a client, ``None`` for a client that offers none.

    Args:
        known: those of the server, the preferred one first; ``None`` takes the first one that the client offers, as
            the server of the reference does, since a client may insist on having one.
        offered: those of the client, the preferred one first.

    Raises:
        NoCommonSubprotocol: the client offers none that the server has.
    """
    if not offered:
        return None
    if known is None:
        return offered[0]
    for name in known:
        if name in offered:
            return name
    raise NoCommonSubprotocol(f"no common subprotocol; this server has {', '.join(known)}")
