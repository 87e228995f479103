"""A hub of four server processes over one Redis: a broadcast to all clients, and a call to one of another process."""

from __future__ import annotations

import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from ..affinity import AFFINITY
from ..audience import READ_SIZE, UPGRADE
from ..child import Figures, Turn
from ..clients import OURS
from ..echo_servers import ROOT, EchoServers
from ..result import Result, result_of
from ..rounds import Task, run_rounds
from ..scale import Scale
from ..servers.hub_node import ROOM

SOCKETIO = "python-socketio, RedisManager"
KINDS = {OURS: "ours", SOCKETIO: "socketio"}
SERVERS = 4
REPEATS, BURST, CALLS = 10, 50, 200
PAYLOAD = "x" * 150
MARK = b'"tick"'
TIMEOUT = 30.0
CONNECTED = b"\x81\x82\0\0\0\x0040"
"""The text ``40``, masked with zeros: Socket.IO's request for the default namespace."""
COLUMNS = {
    "ms": "until all have it, ms",
    "rate": "in a burst: deliveries/s",
    "cpu": "CPU of the servers per delivery, µs",
    "call": "a call to a client of another process: p50, ms",
}


def measure(servers: EchoServers, scale: Scale) -> Result:
    """Measure ours and `python-socketio`, each with a Redis of its own."""
    options = {"clients": scale.hub_clients, "cores": AFFINITY.server_cores()}
    absent = {}
    if shutil.which("redis-server") is None:
        absent = dict.fromkeys(KINDS, "redis-server is not installed")
    tasks = {name: Task("hub:prepare", {"name": name, **options}) for name in KINDS if name not in absent}
    title = f"A hub of {SERVERS} servers over Redis, with {scale.hub_clients} clients"
    return result_of(title, COLUMNS, run_rounds(tasks, scale.rounds), absent)


class Listener:
    """A raw client, whose events are counted."""

    def __init__(self, port: int, is_socketio: bool) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        path = b"/socket.io/?EIO=4&transport=websocket" if is_socketio else b"/"
        self.sock.sendall(UPGRADE.replace(b"GET / ", b"GET " + path + b" "))
        response = b""
        while not response.endswith(b"\r\n\r\n"):
            response += self.sock.recv(1)
        if is_socketio:
            self.sock.sendall(CONNECTED)
        self._rest = b""

    def read(self) -> int:
        """Take what is there, and return the number of events in it."""
        data = self._rest + self.sock.recv(READ_SIZE)
        place = count = 0
        while len(data) - place >= 2:
            length, head = data[place + 1], 2
            if length == 126 and len(data) - place >= 4:
                length, head = struct.unpack_from("!H", data, place + 2)[0], 4
            if (length == 126 and head == 2) or len(data) - place < head + length:
                break
            count += MARK in data[place : place + head + length]
            place += head + length
        self._rest = data[place:]
        return count


class Listeners:
    """All clients of all servers."""

    def __init__(self, ports: Sequence[int], count: int, is_socketio: bool) -> None:
        self._poll = select.epoll()
        self._clients = {}
        for number in range(count):
            client = Listener(ports[number % len(ports)], is_socketio)
            self._clients[client.sock.fileno()] = client
            self._poll.register(client.sock, select.EPOLLIN)

    def wait(self, events: int) -> bool:
        """Wait until so many events have arrived in all; false if they do not come."""
        while events > 0:
            ready = self._poll.poll(2)
            if not ready:
                return False
            events -= sum(self._clients[number].read() for number, _ in ready)
        return True


def _publisher(name: str, redis: str) -> Callable[[], object]:
    """Return what publishes an event, from a process without a server."""
    if name == OURS:
        from owlsocket_sync.hub import RedisHub

        hub = RedisHub(redis)
        return lambda: hub.publish("tick", PAYLOAD, room=ROOM)
    import socketio

    manager = socketio.RedisManager(redis, write_only=True)
    return lambda: manager.emit("tick", PAYLOAD, room=ROOM)


def prepare(name: str, clients: int, cores: Sequence[int] | None) -> Turn:
    """Start Redis, the servers and their clients."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    options = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", tempfile.mkdtemp())
    # It ends with this process, whose end closes the pipe.
    _start(["sh", "-c", 'redis-server "$@" & cat; kill $!', "sh", *options], subprocess.DEVNULL)
    while socket.socket().connect_ex(("127.0.0.1", port)):
        time.sleep(0.01)
    command = [sys.executable, "-m", "benchmarks.servers.hub_node", KINDS[name], str(port)]
    servers = [_start(command, subprocess.PIPE) for _ in range(SERVERS)]
    ports = [int(server.stdout.readline()) for server in servers]
    for server in servers if cores is not None else ():
        for thread in os.listdir(f"/proc/{server.pid}/task"):
            os.sched_setaffinity(int(thread), cores or ())
    redis = f"redis://127.0.0.1:{port}/0"
    publish, listeners = _publisher(name, redis), Listeners(ports, clients, name == SOCKETIO)
    # Clients join some moments after their upgrade: until all of them have an event.
    for _ in range(100):
        publish()
        if listeners.wait(clients):
            break
        listeners.wait(clients)
    call = _caller(ports[0], redis) if name == OURS else None
    return lambda: _turn(publish, listeners, clients, servers, call)


def _start(command: list[str], stdout: int) -> Any:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=stdout, text=True, cwd=ROOT)


def _caller(port: int, redis: str) -> Callable[[], Any]:
    """Return what calls a client of a server, through the hub of this process, which has no server."""
    from owlsocket_sync import connect
    from owlsocket_sync.hub import RedisHub

    conn = connect(f"ws://127.0.0.1:{port}/")
    conn.perform("echo", lambda value: value)
    hub, id = RedisHub(redis), conn.call("id")
    return lambda: hub.call(id, "echo", 1, timeout=5)


def _turn(
    publish: Callable[[], object],
    listeners: Listeners,
    clients: int,
    servers: list[Any],
    call: Callable[[], Any] | None,
) -> Figures:
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        publish()
        _check(listeners.wait(clients))
        seconds.append(time.perf_counter() - began)
        time.sleep(0.01)
    cpu, began = _cpu(servers), time.perf_counter()
    for _ in range(BURST):
        publish()
    _check(listeners.wait(clients * BURST))
    took, spent = time.perf_counter() - began, _cpu(servers) - cpu
    deliveries = clients * BURST
    figures = {"ms": median(seconds) * 1e3, "rate": deliveries / took, "cpu": spent / deliveries * 1e6}
    if call is not None:
        waits = []
        for _ in range(CALLS):
            began = time.perf_counter()
            call()
            waits.append(time.perf_counter() - began)
        figures["call"] = median(waits) * 1e3
    return figures


def _check(all_came: bool) -> None:
    if not all_came:
        raise RuntimeError("events of the hub were lost")


def _cpu(servers: list[Any]) -> float:
    return sum(time.clock_gettime((~server.pid << 3) | 2) for server in servers)
