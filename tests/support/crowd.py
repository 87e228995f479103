"""Many raw clients in a process of their own, that idle.

Run as ``python -m support.crowd PORT COUNT KIND``: ``live`` clients answer a close frame, ``mute`` ones read nothing.
One line says that all are there, and at the end of the input one that says how many were told goodbye with 1001.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import socket
import sys

from support.sockets import CLOSE, frame, knock

GOODBYE = 1001


def answer(sock: socket.socket) -> bool | None:
    """Take what came: whether it was a goodbye, ``None`` when the stream goes on."""
    try:
        came = sock.recv(65_536)
    except ConnectionError:
        return False
    at = came.find(bytes([0x80 | CLOSE, 2]))
    if at < 0:
        return None if came else False
    with contextlib.suppress(OSError):
        sock.sendall(frame(CLOSE, came[at + 2 : at + 4], masked=True))
    return int.from_bytes(came[at + 2 : at + 4], "big") == GOODBYE


def main(port: int, count: int, live: bool) -> None:
    """Come, say so, and stay until told to go, or until all were told goodbye."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + 100)), hard))
    crowd = {}
    for _ in range(count):
        peer, header = knock(port)
        assert header.startswith("HTTP/1.1 101 "), header
        crowd[peer.sock.fileno()] = peer.sock
    print("ready", flush=True)
    poll, goodbyes = select.poll(), 0
    poll.register(0, select.POLLIN)
    for number in crowd if live else ():
        poll.register(number, select.POLLIN)
    while True:
        for number, _ in poll.poll():
            if number == 0:
                if os.read(0, 100):
                    continue
                print(goodbyes, flush=True)
                return
            reply = answer(crowd[number])
            if reply is not None:
                goodbyes += reply
                poll.unregister(number)
                crowd.pop(number).close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "live")
