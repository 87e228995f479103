"""The server's side of a link: frames of clients, by the protocol of websockets, which knows nothing of sockets."""

from __future__ import annotations

from collections import deque

from websockets.frames import Frame as LibraryFrame
from websockets.frames import Opcode
from websockets.server import ServerProtocol

from ..transport.stream import READ_SIZE, DuplexStream
from ..transport.wire import Frame, Wire, WireError


class ServerWire(Wire):
    """Masked messages in, bare frames out, on one stream.

    Args:
        stream: where the client is.
        message_size: bytes of the largest message that is taken in.
        protocol: has granted the upgrade, and refuses what is larger.
        early: what the client sent behind its request.
    """

    def __init__(self, stream: DuplexStream, message_size: int, protocol: ServerProtocol, early: bytes) -> None:
        super().__init__(stream, message_size)
        self._protocol = protocol
        self._early = early
        self._frames: deque[LibraryFrame] = deque()

    def _read_frame(self) -> Frame:
        while not self._frames:
            if self._protocol.parser_exc is not None:
                raise self._offence(self._protocol.parser_exc)
            self._take_in(self._receive())
        frame = self._frames.popleft()
        return Frame(frame.opcode, frame.fin, bytes(frame.data))

    def _receive(self) -> bytes:
        early, self._early = self._early, b""
        data = early or self.stream.recv(READ_SIZE)
        if not data:
            raise EOFError("the client ended the stream without a close frame")
        return data

    def _take_in(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        self._frames.extend(event for event in self._protocol.events_received() if isinstance(event, LibraryFrame))
        self._protocol.data_to_send()  # pings and close frames are answered by the link, in its own time

    def _offence(self, error: Exception) -> WireError:
        told = self._protocol.close_sent
        offence = WireError(told.code if told is not None else 1002, str(error))
        offence.__cause__ = error
        return offence

    def frame(self, opcode: int, data: bytes) -> bytes:
        """A whole frame, bare."""
        return LibraryFrame(Opcode(opcode), data).serialize(mask=False)
