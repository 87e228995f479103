"""The fields of an upgrade: headers, query and subprotocols of its request, checked; the headers of its response."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from .values import Secret

QueryValue = str | int | float | bool | None
Query = Mapping[str, QueryValue | Iterable[QueryValue]] | Iterable[tuple[str, QueryValue | Iterable[QueryValue]]]

RESERVED_HEADERS = frozenset({"host", "connection", "upgrade", "content-length", "transfer-encoding"})
SUBPROTOCOLS = "Sec-WebSocket-Protocol"
# The version is written here, and a test holds it to setup.cfg: to read the metadata of the installation takes more
# time than to connect.
USER_AGENT = "owlsocket-sync/0.1.0"
# Compiled at their first use: most connections need none of them.
_HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z"
_HEADER_CONTROL = r"[\x00-\x08\x0a-\x1f\x7f]"


def check_headers(headers: Mapping[str, str], option: str = "headers") -> dict[str, str]:
    """Return the headers as a dict if each is valid (RFC 9110, section 5.5).

    Args:
        headers: names and values.
        option: the name of the option, for the error.

    Raises:
        ValueError: a name or a value is not valid, or the handshake itself sets this header; the message does not show
            the value.
    """
    if not isinstance(headers, Mapping):
        example = "such as {'X-Name': 'value'}"
        raise ValueError(f"{option} must be a dict, {example}, not {type(headers).__name__}")
    checked: dict[str, str] = {}
    seen = set()
    for name, value in headers.items():
        if not isinstance(name, str) or not re.match(_HEADER_NAME, name):
            raise ValueError(f"{option}: {name!r} is not a valid header name")
        # A line break would add a header or a whole request of an attacker's choice.
        if not isinstance(value, str) or re.search(_HEADER_CONTROL, value) or not is_encodable(value, "latin-1"):
            raise ValueError(f"{option}: the value of {name!r} must be Latin-1 text without control characters")
        # Names have no case (RFC 9110, section 5.1): of two spellings, a server would read either one, or both.
        if (lower := name.lower()) in seen:
            raise ValueError(f"{option}: {name!r} is there twice, in two spellings")
        if lower in RESERVED_HEADERS or lower.startswith("sec-websocket-"):
            raise ValueError(f"{option}: {name!r} is set by the handshake itself, leave it out")
        seen.add(lower)
        # Any of them may be a cookie or a key.
        checked[name] = Secret(value)
    return checked


def check_subprotocols(subprotocols: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names of subprotocols as a tuple if each may be sent (RFC 6455, section 4.1), ``None`` for none.

    Raises:
        ValueError: it is not a sequence of different tokens, or an empty one.
    """
    if subprotocols is None:
        return None
    if isinstance(subprotocols, str) or not isinstance(subprotocols, Sequence):
        example = f"[{subprotocols!r}]" if isinstance(subprotocols, str) else "['chat.v2', 'chat.v1']"
        raise ValueError(f"subprotocols must be a list of names, such as {example}, not {type(subprotocols).__name__}")
    if not subprotocols:
        raise ValueError("subprotocols must name at least one subprotocol; None stands for none")
    for name in subprotocols:
        if not isinstance(name, str) or not re.match(_HEADER_NAME, name):
            raise ValueError(f"subprotocols: {name!r} must be a name without spaces, commas and other separators")
    if len(set(subprotocols)) < len(subprotocols):
        raise ValueError("subprotocols must name each subprotocol once")
    return tuple(subprotocols)


class ResponseHeaders(Mapping[str, str]):
    """The headers of the response that completed a handshake; read-only, with names in any case.

    Values of a header that the response repeats are joined by commas; `get_all` has them one by one. The ``repr`` has
    the names alone: a value may be a cookie or a token.

    Args:
        head: the response up to its empty line.
    """

    __slots__ = ("_fields",)

    def __init__(self, head: bytes = b"") -> None:
        self._fields: dict[str, list[str]] = {}
        for line in head.decode("latin-1").split("\n")[1:]:
            name, colon, value = line.partition(":")
            if colon:
                self._fields.setdefault(name.lower(), []).append(Secret(value.strip(" \t\r")))

    def __getitem__(self, name: str) -> str:
        return Secret(", ".join(self._fields[name.lower()]))

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"<ResponseHeaders {', '.join(self._fields)}>"

    def get_all(self, name: str, default: Sequence[str] = ()) -> Sequence[str]:
        """Return each value of a header, such as those of ``Set-Cookie``, which contain commas."""
        return self._fields.get(name.lower(), default)


class UpgradeAnswer(NamedTuple):
    """The part of the answer to an upgrade that a connection keeps.

    Attributes:
        subprotocol: the one that the server selected, or ``None``.
        head: the response up to its empty line, on the client; bytes, since most programs never look at it.
    """

    subprotocol: str | None = None
    head: bytes = b""

    def __repr__(self) -> str:
        return f"UpgradeAnswer({self.subprotocol!r})"


NO_ANSWER = UpgradeAnswer()
"""The answer before the first handshake, and of a connection without one."""


def check_query(query: Query | None, option: str = "query") -> tuple[tuple[str, str], ...]:
    """Return the parameters of a query as pairs of texts.

    ``None`` leaves a parameter out; a list, a tuple or a set repeats its key; booleans are ``true`` and ``false``.

    Args:
        query: a mapping, or pairs.
        option: the name of the option, for the error.

    Raises:
        ValueError: a key is not a text, or a value has no plain text form; the message does not show the value.
    """
    try:
        pairs = [(key, value) for key, value in (query.items() if isinstance(query, Mapping) else query or ())]
        if isinstance(query, (str, bytes)):
            raise TypeError
    except (TypeError, ValueError):
        what = type(query).__name__
        raise ValueError(f"{option} must be a dict or pairs of names and values, not {what}") from None
    checked = []
    for key, value in pairs:
        if not isinstance(key, str):
            raise ValueError(f"{option}: a name must be text, not {type(key).__name__}")
        for item in value if isinstance(value, (list, tuple, set, frozenset)) else (value,):
            if item is not None:
                checked.append((key, Secret(_query_text(key, item, option))))
    return tuple(checked)


def _query_text(key: str, value: object, option: str) -> str:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return str(value).lower()
    # str() of anything else, such as bytes or a dict, is a text for programmers, which no server understands.
    if isinstance(value, (str, int, float)) or type(value).__str__ not in (object.__str__, bytes.__str__):
        return str.__str__(value) if isinstance(value, str) else str(value)
    raise ValueError(f"{option}: the value of {key!r} must be text or a number, not {type(value).__name__}")


def is_encodable(text: str, encoding: str) -> bool:
    """Return whether a text has a form in this encoding."""
    # A lone surrogate, which JSON and file names may bring in, has no UTF-8 form.
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True
