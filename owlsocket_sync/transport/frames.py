"""The terms of WebSocket frames (RFC 6455): opcodes, close codes, control frames, and violations of the protocol."""

from __future__ import annotations

from struct import Struct
from typing import NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = OPCODES = 0, 1, 2, 8, 9, 10
MAX_CONTROL_PAYLOAD = 125

# Bits of the first byte of a frame, and of the second (section 5.2).
FIN, RSV, RSV1, OPCODE, CONTROL = 0x80, 0x70, 0x40, 0x0F, 0x08
MASK = 0x80

# Values of the second byte for a length that has bytes of its own, two or eight: those, and the least length for them.
EXTENDED_LENGTH, LONG_MARK, MIN_LONG_LENGTH = 126, 127, 65_536
SHORT_FORM, LONG_FORM = (Struct("!H"), EXTENDED_LENGTH), (Struct("!Q"), MIN_LONG_LENGTH)
HEADER, SHORT_HEADER, LONG_HEADER = Struct("!BB"), Struct("!BBH"), Struct("!BBQ")

# Close codes (section 7.4.1, and those registered since), and the ranges of libraries and applications (7.4.2).
PROTOCOL_ERROR, NO_STATUS, INVALID_DATA, MESSAGE_TOO_BIG = 1002, 1005, 1007, 1009
CLOSE_CODES = frozenset([*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)])
CLOSE_CODE = Struct("!H")

KEPT_BEGINNING = 1024


class FramingError(Exception):
    """The peer violated RFC 6455 or a limit.

    Attributes:
        code: the close code to answer with (RFC 6455, section 7.4.1).
        reason: the reason to answer with.
        beginning: what was received of a message that is too large, up to `KEPT_BEGINNING` bytes of it.
    """

    def __init__(self, code: int, reason: str, beginning: bytes = b"") -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.beginning = beginning


def check_beginning(first: int, second: int, peer_mask: int, allowed_rsv: int) -> None:
    """Refuse a frame by its first two bytes (sections 5.1, 5.2 and 5.5).

    Args:
        first: the first byte.
        second: the second byte, its mask bit inverted if the peer must mask its frames.
        peer_mask: `MASK` if it must.
        allowed_rsv: the reserved bits that an extension allows on the first frame of a message.

    Raises:
        FramingError: no peer may send such a frame.
    """
    opcode = first & OPCODE
    if second & MASK:
        cause = "unmasked frame from a client" if peer_mask else "masked frame from a server"
    elif first & RSV & ~(allowed_rsv if opcode in (TEXT, BINARY) else 0):
        cause = "reserved bits that no extension allows"
    elif opcode not in OPCODES:
        cause = f"reserved opcode {opcode}"
    elif opcode & CONTROL and second > MAX_CONTROL_PAYLOAD:
        cause = f"control frame larger than {MAX_CONTROL_PAYLOAD} bytes"
    elif opcode & CONTROL and not first & FIN:
        cause = "fragmented control frame"
    else:
        return
    raise FramingError(PROTOCOL_ERROR, cause)


def parse_close(payload: bytes) -> Close:
    """Parse the payload of a close frame (section 5.5.1).

    Raises:
        FramingError: no peer may send such a payload.
    """
    if not payload:
        return Close(NO_STATUS, "")
    code = CLOSE_CODE.unpack(payload[:2])[0] if len(payload) > 1 else NO_STATUS
    # A reserved code, as 1005 and 1006 are, must not be sent (section 7.4.1).
    if code not in CLOSE_CODES:
        raise FramingError(PROTOCOL_ERROR, "close frame without a valid code")
    try:
        return Close(code, payload[2:].decode())
    except UnicodeDecodeError as error:
        raise FramingError(INVALID_DATA, "close reason is not valid UTF-8") from error


def payload_beginning(data: bytes) -> bytes:
    """Return the beginning of the payload of a frame, unmasked, up to `KEPT_BEGINNING` bytes of it.

    Args:
        data: the frame from its header on, however much of it was received.
    """
    start = 2 + {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
    if not data[1] & 0x80:
        return data[start : start + KEPT_BEGINNING]
    key, masked = data[start : start + 4], data[start + 4 : start + 4 + KEPT_BEGINNING]
    return bytes(byte ^ key[index % 4] for index, byte in enumerate(masked))


class Ping(NamedTuple):
    """A received ping; its pong carries the same payload."""

    payload: bytes


class Pong(NamedTuple):
    """A received pong."""

    payload: bytes


class Close(NamedTuple):
    """A received close frame; code 1005 if it has none."""

    code: int
    reason: str


FramingEvent = str | bytes | Ping | Pong | Close
"""A whole message, or a control frame."""
