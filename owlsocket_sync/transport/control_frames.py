"""The part of a framing that encodes control frames (RFC 6455, section 5.5): pings, pongs and the close frame."""

from __future__ import annotations

from abc import ABC, abstractmethod

from .frames import CLOSE, CLOSE_CODE, MAX_CONTROL_PAYLOAD, NO_STATUS, PING, PONG


class ControlFrames(ABC):
    """Encodes control frames; from any thread."""

    __slots__ = ()

    @abstractmethod
    def frame(self, opcode: int, payload: bytes) -> bytes:
        """Return an unfragmented frame."""

    def ping_frame(self, payload: bytes) -> bytes:
        """Return an encoded ping."""
        return self._control_frame(PING, payload)

    def pong_frame(self, payload: bytes) -> bytes:
        """Return an encoded pong."""
        return self._control_frame(PONG, payload)

    def close_frame(self, code: int, reason: str) -> bytes:
        """Return an encoded close frame."""
        # 1005 stands for a frame without a code and must not be sent (section 7.4.1).
        return self._control_frame(CLOSE, b"" if code == NO_STATUS else CLOSE_CODE.pack(code) + reason.encode())

    def _control_frame(self, opcode: int, payload: bytes) -> bytes:
        if len(payload) > MAX_CONTROL_PAYLOAD:
            raise ValueError(f"control frame of {len(payload)} bytes: at most {MAX_CONTROL_PAYLOAD} are allowed")
        return self.frame(opcode, payload)
