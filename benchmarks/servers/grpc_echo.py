"""A unary `grpc` echo without generated code: the asynchronous server on `uvloop`, with JSON messages."""

from __future__ import annotations

from typing import Any

import grpc
import orjson
import uvloop

from .lifetime import announce

LARGEST = 1 << 30
OPTIONS = [("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)]


async def _echo(request: bytes, context: Any) -> bytes:
    # Parsed and written again: the other servers do so, too.
    return orjson.dumps(orjson.loads(request))


async def _serve() -> None:
    server = grpc.aio.server(options=OPTIONS)
    handler = grpc.unary_unary_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmarks.Echo", {"echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    announce(port)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve())
