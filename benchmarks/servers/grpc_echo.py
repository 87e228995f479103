"""A unary echo by `grpc`, without generated code: its messages are JSON, read and written by `orjson`."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import orjson

from .life import announce

LARGEST = 1 << 30
OPTIONS = [("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST)]


def _echo(request: Any, context: Any) -> Any:
    return request


if __name__ == "__main__":
    server = grpc.server(ThreadPoolExecutor(4), options=OPTIONS)
    handler = grpc.unary_unary_rpc_method_handler(_echo, orjson.loads, orjson.dumps)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmarks.Echo", {"echo": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    announce(port)
    threading.Event().wait()
