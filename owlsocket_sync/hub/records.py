"""Texts and members as bytes, in the log of a hub that other processes read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from ..errors import SocketMessageMalformed
from ..errors.safe_text import logger, safe_str
from ..protocol.json_values import from_json, to_json
from ..values import escape_for_log
from .values import Member

Stored = TypeVar("Stored")
Value = TypeVar("Value")


def encode_text(text: str) -> bytes:
    """Return a text as bytes; rooms may have any name."""
    return text.encode("utf-8", "surrogatepass")


def decode_text(text: bytes) -> str:
    """Return a text that `encode_text` made these bytes of."""
    return text.decode("utf-8", "surrogatepass")


def member_record(member: Member) -> bytes:
    """Return everything of a member but its id."""
    return to_json([member.user, member.server, member.info])


def member_of(id: bytes, record: bytes) -> Member:
    """Return the member with this id that `member_record` made these bytes of.

    Raises:
        SocketMessageMalformed: they are anything else.
    """
    fields = from_json(record)
    if isinstance(fields, list) and len(fields) == 3:
        user, server, info = fields
        if isinstance(server, str) and (user is None or isinstance(user, str)):
            return Member(decode_text(id), user, server, info)
    raise SocketMessageMalformed("a record of the hub is not a member")


def valid(stored: Iterable[Stored], read: Callable[[Stored], Value], place: str) -> Iterator[Value]:
    """Yield what was stored at a place, as values; what is not valid is logged, and passed over."""
    for each in stored:
        try:
            value = read(each)
        except (SocketMessageMalformed, ValueError, TypeError, AttributeError) as error:
            logger.error("%s: a value was passed over, it is not valid: %s", place, escape_for_log(safe_str(error)))
        else:
            yield value
