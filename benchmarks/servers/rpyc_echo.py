"""An `rpyc` echo: the threaded server, with one thread per client."""

from __future__ import annotations

import rpyc
from rpyc.utils.server import ThreadedServer

from .lifetime import announce


class Echo(rpyc.Service):
    """The functions that clients may call."""

    def exposed_echo(self, payload: object) -> object:
        """Return the argument."""
        return payload


if __name__ == "__main__":
    server = ThreadedServer(Echo, hostname="127.0.0.1", port=0)
    announce(server.port)
    server.start()
