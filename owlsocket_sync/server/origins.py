"""The check of the ``Origin`` and ``Host`` headers of an upgrade request (RFC 6455, section 10.2)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from http import HTTPStatus
from urllib.parse import urlsplit

from ..urls import is_loopback
from .admission import HandshakeRejected

ALL_ORIGINS = "*"
DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


def check_origins(origins: Sequence[str] | None) -> Sequence[str] | None:
    """Return the option ``origins`` in the form that `check_origin` takes.

    Raises:
        ValueError: it is neither ``None``, ``"*"`` nor a list of origins.
    """
    if origins is None or origins == ALL_ORIGINS:
        return origins
    # A string is a sequence of strings too: each of its characters would be taken for an origin.
    if isinstance(origins, str):
        raise ValueError(f"origins must be a list of origins, not a string, except {ALL_ORIGINS!r} for all")
    # A copy: a list that is changed later must not change who may connect.
    if not isinstance(origins, Collection) or not all(isinstance(origin, str) for origin in origins):
        raise ValueError(f"origins must be a list of origins such as 'https://host', not {type(origins).__name__}")
    return ALL_ORIGINS if ALL_ORIGINS in origins else tuple(origins)


def check_origin(
    headers: Mapping[str, str], origins: Sequence[str] | None, *, on_loopback: bool, target: str | None = None
) -> None:
    """Reject a request of a web page that may not connect.

    Only browsers send an ``Origin``, and only against pages in them is it a protection: a request without one passes.

    Args:
        headers: of the request.
        origins: the origins that may connect, ``"*"`` for all; ``None`` for the origin of the server itself.
        on_loopback: the server listens on a loopback address, and the request came through no proxy that it trusts.
        target: the name that the client asked for, as a trusted proxy forwards it; ``None`` for the ``Host`` header.

    Raises:
        HandshakeRejected: the page, or the name of the server in the request, is not allowed.
    """
    if origins == ALL_ORIGINS:
        return
    try:
        origin, host = headers.get("Origin"), headers.get("Host") or ""
    except LookupError:  # websockets raises MultipleValuesError; choosing among several would be a guess
        raise HandshakeRejected(HTTPStatus.BAD_REQUEST, "More than one Origin or Host header.\n") from None
    host = host if target is None else target
    if origins is not None:
        allowed = origin is None or origin in origins
    else:
        # DNS rebinding: a page whose own name was made to resolve to 127.0.0.1 has the origin that its Host header
        # names. Such a page cannot send a loopback name, so the name is checked, and not the origin alone.
        if on_loopback and host and not is_loopback(_host_and_port(host, 0)[0]):
            raise HandshakeRejected(
                HTTPStatus.FORBIDDEN,
                "This server listens on a loopback address, and the Host header names another one; the option origins "
                "allows other names.\n",
            )
        allowed = origin is None or _is_same_origin(origin, host)
    if not allowed:
        raise HandshakeRejected(HTTPStatus.FORBIDDEN, "Pages of this origin may not connect (option origins).\n")


def _is_same_origin(origin: str, host: str) -> bool:
    # Without the scheme: behind a proxy that terminates TLS, the server does not see the one of the page.
    scheme, separator, authority = origin.partition("://")
    port = DEFAULT_PORTS.get(scheme, 0)
    page = _host_and_port(authority, port)
    return bool(separator and page[0]) and page == _host_and_port(host, port)


def _host_and_port(authority: str, default_port: int) -> tuple[str, int]:
    """Return host and port, in lower case and without brackets; an empty host if it cannot be parsed."""
    try:
        parts = urlsplit(f"//{authority}")
        # A name with its final dot is the same name (RFC 1034, section 3.1).
        return (parts.hostname or "").removesuffix("."), parts.port or default_port
    except ValueError:
        return "", -1
