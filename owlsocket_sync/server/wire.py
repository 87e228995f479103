"""The server's side of a link: websockets takes the frames of clients apart, and owns no socket here."""

from __future__ import annotations

from collections.abc import Generator

from websockets.exceptions import PayloadTooBig, ProtocolError
from websockets.frames import Close, Opcode
from websockets.frames import Frame as LibraryFrame

from ..transport.stream import DuplexStream
from ..transport.wire import CLOSE, CONTROL_BYTES, Frame, Wire, WireError

Steps = Generator[None, None, LibraryFrame]


class ServerWire(Wire):
    """Masked messages in, bare frames out, on one stream.

    Args:
        stream: where the client is.
        message_size: bytes of the largest message that is taken in.
        early: what the client sent behind its request.
    """

    def __init__(self, stream: DuplexStream, message_size: int, early: bytes) -> None:
        super().__init__(stream, message_size)
        stream.unread.put_back(early)

    def _parse_frame(self) -> Frame:
        try:
            frame = _last(self._parse())
            if frame.opcode == CLOSE:
                Close.parse(frame.data)
        except PayloadTooBig as error:
            raise WireError(1009, str(error)) from error
        except ProtocolError as error:
            raise WireError(1002, str(error)) from error
        except UnicodeDecodeError as error:
            raise WireError(1007, "a close reason that is no UTF-8") from error
        return frame.opcode, frame.fin, bytes(frame.data)

    def _parse(self) -> Steps:
        """The steps of websockets, behind a look at what it would wait for before it refuses it."""
        take = self.stream.unread.take
        heads = [take(2)]
        head = heads[0]
        if head[0] & 0x0F >= CLOSE and head[1] & 0x7F > CONTROL_BYTES:
            raise ProtocolError("a control frame of more than 125 bytes")
        most = self._room() if head[0] & 0x0F < CLOSE else CONTROL_BYTES

        def read_exact(size: int) -> Generator[None, None, bytes]:
            return heads.pop() if heads else take(size)
            yield

        return (yield from LibraryFrame.parse(read_exact, mask=True, max_size=most))

    def frame(self, opcode: int, data: bytes) -> bytes:
        """A whole frame, bare."""
        return LibraryFrame(Opcode(opcode), data).serialize(mask=False)


def _last(steps: Steps) -> LibraryFrame:
    """What comes of steps that never wait."""
    try:
        next(steps)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise AssertionError("there is nothing to wait for: all is here")
