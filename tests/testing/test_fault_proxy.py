"""`FaultProxy` as a whole: passing bytes, accepting clients, its methods from many threads, and closing."""

from __future__ import annotations

import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from owlsocket_sync.testing import FaultProxy
from support.ends import TEXT, UP, Ends, both_ways, was_reset
from support.helpers import eventually, scaled
from support.sockets import RawPeer, free_port

ROOT = Path(__file__).parent.parent.parent
NO_FLAG: Any = None


@both_ways
def test_bytes_and_half_closes_pass(ends: Ends, direction: str) -> None:
    """One direction may end while the other goes on; when both have ended, the connection is closed."""
    sender, receiver = ends.along(direction)
    sender.send(TEXT * 50)
    sender.sock.shutdown(socket.SHUT_WR)
    assert receiver.read(len(TEXT) * 50 + 1) == TEXT * 50
    receiver.send(b"back")
    assert sender.read(4) == b"back"
    (seen,) = ends.proxy.connections
    assert (seen.number, seen.client) == (1, ends.client.sock.getsockname())
    assert (seen.upstream, seen.downstream) == ((len(TEXT) * 50, 4) if direction == UP else (4, len(TEXT) * 50))
    receiver.sock.close()
    assert sender.read(1) == b""
    eventually(lambda: ends.proxy.connections == [])
    assert ends.proxy.accepted == 1


@both_ways
def test_resets_pass(ends: Ends, direction: str) -> None:
    """A reset arrives as a reset, after the bytes before it."""
    sender, receiver = ends.along(direction)
    sender.send(b"last")
    assert receiver.read(4) == b"last"
    sender.reset()
    assert was_reset(receiver)
    eventually(lambda: ends.proxy.connections == [])


@both_ways
def test_sending_to_a_closed_receiver_fails(ends: Ends, direction: str) -> None:
    """The sender learns it when the receiver is closed after its half-close has passed."""
    sender, receiver = ends.along(direction)
    receiver.sock.close()
    assert sender.read(1) == b""
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            sender.send(TEXT)
    eventually(lambda: ends.proxy.connections == [])


def test_a_target_that_refuses_resets_the_client() -> None:
    """Its connection was accepted by the proxy already."""
    with FaultProxy("127.0.0.1", free_port()) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        assert was_reset(RawPeer(sock))
        assert proxy.accepted == 1


def test_the_next_address_of_a_target_is_tried(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a name with an address on which no server listens."""
    family, kind = socket.AF_INET, socket.SOCK_STREAM
    found = [(family, kind, 0, "", ("127.0.0.1", port)) for port in (free_port(), ends.listener.getsockname()[1])]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: found)
    with FaultProxy("owls.example", 1) as proxy, socket.create_connection(("127.0.0.1", proxy.port)) as sock:
        sock.sendall(b"hello")
        assert ends.accept().read(5) == b"hello"


def test_a_refusing_port_stays_reserved(ends: Ends) -> None:
    """New clients are refused, live ones are served; later clients are accepted again on the same port."""
    for _ in range(3):
        ends.proxy.refuse()
        ends.proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            ends.join()
        with pytest.raises(OSError), socket.socket() as thief:
            thief.bind(("127.0.0.1", ends.proxy.port))
        ends.client.send(b"hello")
        assert ends.server.read(5) == b"hello"
        ends.proxy.refuse(False)
        ends.join().send(b"again")
        assert ends.accept().read(5) == b"again"
    ends.proxy.refuse()
    ends.proxy.clear()
    ends.join()


def test_clients_wait_while_no_descriptor_is_free(ends: Ends) -> None:
    """They are accepted as soon as a descriptor is free; the proxy does not spin meanwhile."""
    late = RawPeer(socket.socket())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        late.sock.connect(("127.0.0.1", ends.proxy.port))
        worked = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - worked < 0.15
        assert ends.proxy.accepted == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    late.send(b"late")
    assert ends.accept().read(4) == b"late"
    late.sock.close()


@pytest.mark.slow
def test_an_idle_proxy_costs_nothing(ends: Ends) -> None:
    """Whatever it holds, the loop does not wake before something is due."""
    states: list[Callable[[], object]] = [
        lambda: None,
        lambda: ends.proxy.delay(3600),
        lambda: ends.client.send(TEXT),
        lambda: ends.client.sock.close(),
        lambda: ends.proxy.blackhole(),
        lambda: ends.server.reset(),
    ]
    for change in states:
        change()
        worked = time.process_time()
        time.sleep(0.2)
        assert time.process_time() - worked < 0.1


def test_closing_ends_everything_and_can_be_repeated(ends: Ends) -> None:
    """Both ends see the end; afterwards every method raises, and `connections` is empty."""
    ends.proxy.close()
    ends.proxy.close()
    assert (ends.client.at_end(), ends.server.at_end()) == (True, True)
    with pytest.raises(ConnectionRefusedError):
        ends.join()
    assert (ends.proxy.connections, ends.proxy.accepted) == ([], 1)
    ends.proxy.clear()
    with pytest.raises(RuntimeError, match="the proxy is closed"):
        ends.proxy.delay(1)


def test_commands_may_come_from_many_threads(ends: Ends) -> None:
    """While it closes, too: each is run, or raises."""
    errors = []

    def command(number: int) -> None:
        try:
            while True:
                ends.proxy.delay(number / 1000)
                assert len(ends.proxy.connections) <= 1
        except RuntimeError as error:
            errors.append(str(error))

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(command, number) for number in range(8)]
        threading.Event().wait(0.2)
        ends.proxy.close()
        for future in running:
            future.result(scaled(5))
    assert errors == ["the proxy is closed"] * 8


FORKED = """
import os, socket
from owlsocket_sync.testing import FaultProxy
listener = socket.create_server(("127.0.0.1", 0))
proxy = FaultProxy("127.0.0.1", listener.getsockname()[1])
client = socket.create_connection(("127.0.0.1", proxy.port))
server = listener.accept()[0]
proxy.blackhole(direction="downstream")
(reading, writing), (done, finish) = os.pipe(), os.pipe()
child = os.fork()
if not child:
    client.close(), server.close(), listener.close()
    try:
        proxy.cut()
    except RuntimeError as error:
        os.write(writing, str(error).encode())
    os.read(done, 1)
    os._exit(0)
print(os.read(reading, 100).decode())
client.sendall(b"hello")
print(server.recv(5).decode())
proxy.reset()
for sock in (client, server):
    try:
        print(sock.recv(1))
    except ConnectionResetError:
        print("reset")
    sock.close()
os.write(finish, b"x")
os.waitpid(child, 0)
proxy.close()
listener.close()
"""


def test_a_forked_child_has_a_closed_proxy() -> None:
    """Its methods raise there, and it keeps none of the parent's connections open."""
    ran = subprocess.run(
        [sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=scaled(30), cwd=ROOT, check=False
    )
    assert (ran.returncode, ran.stdout.splitlines()) == (0, ["the proxy is closed", "hello", "reset", "reset"]), (
        ran.stderr
    )


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda proxy: FaultProxy("", 1), "host must be"),
        (lambda proxy: FaultProxy("127.0.0.1", 0), "port must be"),
        (lambda proxy: FaultProxy("127.0.0.1", 65_536), "port must be"),
        (lambda proxy: FaultProxy("127.0.0.1", 1, secure=NO_FLAG), "secure must be"),
        (lambda proxy: proxy.url("nowhere"), "path must begin"),
        (lambda proxy: proxy.delay(-1), "seconds must be"),
        (lambda proxy: proxy.delay(float("inf")), "seconds must be"),
        (lambda proxy: proxy.delay(10**400), "seconds must be"),
        (lambda proxy: proxy.delay(1, jitter=float("nan")), "jitter must be"),
        (lambda proxy: proxy.delay(1, seed="x"), "seed must be"),
        (lambda proxy: proxy.throttle(0), "bytes_per_second must be"),
        (lambda proxy: proxy.split(1.5), "seed must be"),
        (lambda proxy: proxy.corrupt(True), "seed must be"),
        (lambda proxy: proxy.corrupt(1, every=0), "every must be"),
        (lambda proxy: proxy.cut(after=-1), "after must be"),
        (lambda proxy: proxy.reset(after=1, direction="sideways"), "direction must be"),
        (lambda proxy: proxy.cut(direction=UP), "direction needs after"),
        (lambda proxy: proxy.blackhole(1), "on must be"),
        (lambda proxy: proxy.blackhole(direction=None), "direction must be"),
        (lambda proxy: proxy.refuse("no"), "on must be"),
    ],
)
def test_an_invalid_argument_is_named(ask: Callable[[Any], object], words: str) -> None:
    """Before any effect."""
    with FaultProxy("127.0.0.1", 1) as proxy, pytest.raises(ValueError, match=words):
        ask(proxy)


def test_the_repr_names_both_addresses() -> None:
    """With its own address, and that of the target."""
    with FaultProxy("localhost", 1, secure=True) as proxy:
        assert proxy.url("/ws?room=1") == f"wss://127.0.0.1:{proxy.port}/ws?room=1"
        assert repr(proxy) == f"<FaultProxy wss://127.0.0.1:{proxy.port}/ in front of localhost:1>"
