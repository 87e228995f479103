"""Texts and members as bytes, in the log of a hub that other processes read."""

from __future__ import annotations

from ..errors import SocketMessageMalformed
from ..protocol.json_values import from_json, to_json
from .values import Member


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
