"""The extension permessage-deflate (RFC 7692), without context takeover: what both ends agree on, and its algorithm.

Each message is deflated by itself. So a frame can be parsed twice, frames may leave in another order than that in which
they were made, one frame serves all clients of a server, and an idle link holds no window.

Threads: nothing here has state.
"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from ..options import Deflate
from ..values import NeverCompressed
from .frames import INVALID_DATA, KEPT_BEGINNING, MESSAGE_TOO_BIG, FramingError

EXTENSION = "permessage-deflate"
EXTENSIONS = "Sec-WebSocket-Extensions"
CLIENT_NO_CONTEXT, SERVER_NO_CONTEXT = "client_no_context_takeover", "server_no_context_takeover"
CLIENT_WINDOW, SERVER_WINDOW = "client_max_window_bits", "server_max_window_bits"
MIN_WINDOW_BITS, MAX_WINDOW_BITS = 9, 15
MIN_LOOKAHEAD = 262
MAX_FINAL_BLOCKS = 16
MAX_INPUT, MAX_PIECE = 65_536, 1_048_576
"""Bytes that are inflated at a time, and those that they are inflated to: what exceeds a limit takes no more memory."""

# The end of a flushed block, which is not sent (section 7.2.1). A final, empty block after it shows whether a message
# is complete: zlib does not tell a boundary of blocks from the middle of one.
TAIL = b"\x00\x00\xff\xff"
END = TAIL + b"\x01\x00\x00\xff\xff"

# A list of extensions and their parameters (RFC 6455, section 9.1); compiled at the first use.
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = rf"""[ \t]*;[ \t]*({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?"""
_ELEMENT = rf"[ \t]*({_TOKEN})((?:{_PARAMETER})*)[ \t]*(?:,|\Z)"
_WINDOW_BITS = r"(?:[89]|1[0-5])\Z"

Parameters = list[tuple[str, str | None]]


class Compression(NamedTuple):
    """The compression of one link; equal values make equal frames.

    Attributes:
        level: of zlib.
        window_bits: of the messages that are sent.
        min_size: bytes from which on messages are deflated.
        is_agreed: whether the peer may send deflated messages.
    """

    level: int = 1
    window_bits: int = MAX_WINDOW_BITS
    min_size: int = sys.maxsize
    is_agreed: bool = False

    def deflate(self, message: bytes) -> bytes | None:
        """Return the payload of a deflated message; ``None`` if it is better sent as it is."""
        if len(message) < self.min_size or isinstance(message, NeverCompressed):
            return None
        # A window that holds the message and what zlib looks ahead finds as much as a larger one, which costs more to
        # clear than a short message to deflate.
        window_bits = min(self.window_bits, max(MIN_WINDOW_BITS, (len(message) + MIN_LOOKAHEAD).bit_length()))
        deflater = zlib.compressobj(self.level, zlib.DEFLATED, -window_bits)
        blocks = deflater.compress(message)
        payload = blocks + deflater.flush(zlib.Z_SYNC_FLUSH)[: -len(TAIL)]
        return payload if len(payload) < len(message) else None

    def inflate(self, payload: bytes | memoryview, limit: int) -> bytes:
        """Return the message of a deflated payload; see `inflate`."""
        return inflate(payload, limit)

    def inflate_beginning(self, payload: bytes) -> bytes:
        """Return the first bytes of a message, as far as the beginning of its payload has them."""
        try:
            return zlib.decompressobj(-MAX_WINDOW_BITS).decompress(payload, KEPT_BEGINNING)
        except zlib.error:
            return b""


PLAIN = Compression()
"""The compression of a link whose peer did not agree to any."""


def inflate(payload: bytes | memoryview, limit: int) -> bytes:
    """Return the message of a deflated payload (section 7.2.2).

    Args:
        payload: of all frames of the message.
        limit: the size of the largest accepted message in bytes; no more is inflated.

    Raises:
        FramingError: it is not valid, or larger than the limit.
    """
    inflation = Inflation(limit)
    for _ in range(MAX_FINAL_BLOCKS):
        if not payload:
            return b"".join(inflation.pieces)
        payload = inflation.inflate_stream(payload)
    raise FramingError(INVALID_DATA, f"malformed deflate data: {MAX_FINAL_BLOCKS} final blocks or more")


class Inflation:
    """One message that is being inflated.

    Args:
        limit: the size of the largest accepted message in bytes.

    Attributes:
        pieces: of the message.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self.pieces: list[bytes] = []

    def inflate_stream(self, payload: bytes | memoryview) -> bytes:
        """Inflate the blocks up to a final one, or to the end, and return those that follow.

        Raises:
            FramingError: they are not valid, or their message is larger than the limit.
        """
        # A final block ends the stream of zlib, but not the message: its window reaches beyond (section 7.2.3.4).
        inflater = zlib.decompressobj(-MAX_WINDOW_BITS, b"".join(self.pieces)[-(1 << MAX_WINDOW_BITS) :])
        try:
            for start in range(0, len(payload), MAX_INPUT):
                self._feed(inflater, payload[start : start + MAX_INPUT])
                if inflater.eof:
                    return inflater.unused_data + bytes(payload[start + MAX_INPUT :])
            self._feed(inflater, END)
        except zlib.error as error:
            raise FramingError(INVALID_DATA, f"malformed deflate data: {error}") from error
        if not inflater.eof or inflater.unused_data:
            raise FramingError(INVALID_DATA, "malformed deflate data: it ends within a block")
        return b""

    def _feed(self, inflater: zlib._Decompress, data: bytes | memoryview) -> None:
        """Inflate some of the blocks, in pieces: of a message that is too large, no more than one above the limit."""
        piece = inflater.decompress(data, MAX_PIECE)
        while piece:
            self.pieces.append(piece)
            self._size += len(piece)
            if self._size > self._limit:
                reason = f"message inflates to more than the limit of {self._limit} bytes"
                raise FramingError(MESSAGE_TOO_BIG, reason, self.pieces[0][:KEPT_BEGINNING])
            if len(piece) < MAX_PIECE:
                return
            piece = inflater.decompress(inflater.unconsumed_tail, MAX_PIECE)


# -- what both ends agree on (section 7.1) -----------------------------------------------------------------------------


def offer(options: Deflate) -> str:
    """Return the value of the header with which a client offers its compression."""
    limit = "" if options.window_bits == MAX_WINDOW_BITS else f"={options.window_bits}"
    return f"{EXTENSION}; {CLIENT_NO_CONTEXT}; {SERVER_NO_CONTEXT}; {CLIENT_WINDOW}{limit}"


def accept_offer(header: str, options: Deflate) -> tuple[str, Compression] | None:
    """Return a server's answer to the offers of a client, and what is agreed on; ``None`` if none of them fits.

    A client that offers nothing that can be used is served without compression, as any other.

    Args:
        header: the values of the header, joined by commas.
        options: of the server.
    """
    try:
        offers = list(parse_extensions(header))
    except ValueError:
        return None
    for name, parameters in offers:
        values = dict(parameters)
        if name != EXTENSION or find_fault(parameters, is_offer=True) or values.get(SERVER_WINDOW) == "8":
            continue  # zlib has no window of 8 bits
        answer = f"{EXTENSION}; {SERVER_NO_CONTEXT}; {CLIENT_NO_CONTEXT}"
        window_bits = options.window_bits
        requested = values.get(SERVER_WINDOW)
        if requested is not None:
            window_bits = min(window_bits, int(requested))
            answer += f"; {SERVER_WINDOW}={window_bits}"
        return answer, Compression(options.level, window_bits, options.min_size, is_agreed=True)
    return None


def negotiate(header: str, options: Deflate) -> tuple[str, Compression]:
    """Return a server's answer to the offers of a client, empty if none of them fits, and the compression of the link.

    Args:
        header: the values of the header, joined by commas.
        options: of the server.
    """
    return accept_offer(header, options) or ("", PLAIN)


def read_answer(header: str, options: Deflate) -> Compression:
    """Return what a server agreed to.

    Args:
        header: the values of the header of its response, joined by commas.
        options: of the client, whose `offer` is answered.

    Raises:
        ValueError: no server may answer so; the message ends the sentence "the server …".
    """
    extensions = list(parse_extensions(header))
    if [name for name, _ in extensions] not in ([], [EXTENSION]):
        raise ValueError("selected other extensions than the one that was offered")
    if not extensions:
        return PLAIN
    ((_, parameters),) = extensions
    values = dict(parameters)
    fault = find_fault(parameters, is_offer=False)
    if fault is not None:
        raise ValueError(fault)
    if SERVER_NO_CONTEXT not in values:
        raise ValueError(f"keeps its compression from message to message, although {SERVER_NO_CONTEXT} was requested")
    window_bits = int(values.get(CLIENT_WINDOW) or options.window_bits)
    if window_bits > options.window_bits:
        raise ValueError(f"selected {CLIENT_WINDOW}={window_bits}, where {options.window_bits} was offered")
    # zlib has no window of 8 bits: what is sent is not deflated, which is always allowed (section 6).
    min_size = options.min_size if window_bits > 8 else sys.maxsize
    return Compression(options.level, window_bits, min_size, is_agreed=True)


def parse_extensions(header: str) -> Iterator[tuple[str, Parameters]]:
    """Yield the name and the parameters of each extension in a header.

    Raises:
        ValueError: the header does not conform to RFC 6455, section 9.1.
    """
    # Empty elements of a list are ignored (RFC 9110, section 5.6.1).
    separator, extension = re.compile(r"[ \t,]*"), re.compile(_ELEMENT)
    position = separator.match(header).end()  # type: ignore[union-attr]
    while position < len(header):
        element = extension.match(header, position)
        if element is None:
            raise ValueError("sent a list of extensions that does not conform to RFC 6455")
        position = separator.match(header, element.end()).end()  # type: ignore[union-attr]
        parameters = re.findall(_PARAMETER, element[2])
        yield element[1], [(name, token or quoted or None) for name, token, quoted in parameters]


def find_fault(parameters: Parameters, *, is_offer: bool) -> str | None:
    """Return the fault of the parameters, ``None`` if they conform to section 7.1."""
    names = [name for name, _ in parameters]
    for name, value in parameters:
        if name in (CLIENT_NO_CONTEXT, SERVER_NO_CONTEXT):
            is_valid = value is None
        elif name in (CLIENT_WINDOW, SERVER_WINDOW):
            is_valid = re.match(_WINDOW_BITS, value or "") is not None
            # Only in an offer, and there only for the client's own window (section 7.1.2.2).
            is_valid = is_valid or (value is None and is_offer and name == CLIENT_WINDOW)
        else:
            return f"selected the unknown parameter {name!r} of {EXTENSION}"
        if not is_valid:
            return f"selected {name} with the value {value!r}, which is not valid"
        if names.count(name) > 1:
            return f"selected {name} more than once"
    return None
