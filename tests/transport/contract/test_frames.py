"""What websocket-client does with frames, row by row, and what our framing makes of the same bytes."""

from __future__ import annotations

import importlib.util
import socket
import time
from pathlib import Path

import pytest
import websocket
from websocket import ABNF
from websocket._utils import validate_utf8

from owlsocket_sync.deadline import Deadline
from owlsocket_sync.errors import SocketTimeout
from owlsocket_sync.transport.client_handshake import ClientHandshake
from owlsocket_sync.transport.frames import FramingError, Ping
from owlsocket_sync.transport.stream import DuplexStream
from owlsocket_sync.urls import parse
from support.figures import Figure
from support.helpers import scaled
from support.linked import Run, aside, tcp_pair
from support.sockets import CONTINUATION, PING, PONG, TEXT, RawPeer, frame, granted, header_of
from support.upstream import LIMIT, ClientFraming, NotingSocket, Upstream, ours_and_peer, upstream_and_peer

BIG = 8_000_000
WORDS = [b"a", b"bird", b"in", b"hand"]
FRAMES = b"".join(frame(TEXT, word) for word in WORDS)


def _noted() -> tuple[NotingSocket, RawPeer]:
    ours, theirs = tcp_pair()
    sock = NotingSocket(ours)
    sock.settimeout(scaled(5))
    return sock, RawPeer(theirs)


def _grant_with_frames(peer: RawPeer) -> int:
    """Grant the upgrade, with frames in the same write; how long the answer was."""
    answer = granted(peer.read_header())
    peer.send(answer + FRAMES)
    return len(answer)


def test_row_d01_upstream_reads_by_the_byte_and_by_the_field() -> None:
    """A handshake costs it a system call for each byte, a frame one for each of its fields."""
    sock, peer = _noted()
    sent = aside(lambda: _grant_with_frames(peer))
    ws = Upstream()
    ws.connect("ws://localhost/", socket=sock)
    assert sock.asked == [1] * sent.wait(1)[0]
    sock.asked.clear()
    assert [ws.recv() for _ in WORDS] == [word.decode() for word in WORDS]
    assert sock.asked == [size for word in WORDS for size in (2, len(word))]
    sock.close()
    peer.sock.close()


def test_row_d01_we_read_all_that_came_with_one_system_call() -> None:
    """An answer, and the frames right behind it, are one read."""
    sock, peer = _noted()
    sent = aside(lambda: _grant_with_frames(peer))
    framing = ClientFraming(DuplexStream(sock), LIMIT)
    ClientHandshake(framing).upgrade(parse("ws://localhost/"), {}, time.monotonic() + scaled(5))
    assert sent.wait(1)
    assert [framing.read() for _ in WORDS] == [word.decode() for word in WORDS]
    assert len(sock.asked) == 1
    framing.stream.close()
    peer.sock.close()


def test_row_d02_masking_needs_nothing_compiled() -> None:
    """Nothing compiled is asked for or installed, and a mebibyte is masked right."""
    assert "wsaccel" not in (Path(__file__).parents[3] / "setup.cfg").read_text(encoding="utf-8")
    assert importlib.util.find_spec("wsaccel") is None
    data = bytes(range(256)) * 4096
    with ours_and_peer() as (framing, _):
        framed = framing.frame(TEXT, data)
    key, masked = framed[10:14], framed[14:]
    assert masked == bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


@pytest.mark.parametrize("tail", [b"\xc3", b"\xe2\x82", b"\xf0\x9f\x92"])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "fragments"])
def test_row_d03_a_tail_that_is_cut_off(tail: bytes, cut: bool) -> None:
    """Upstream lets it pass as UTF-8 and fails in its own decoding; ours refuses it with 1007."""
    text = b"tea" + tail
    sent = frame(TEXT, text)
    if cut:
        sent = frame(TEXT, text[:4], fin=False) + frame(CONTINUATION, text[4:])
    assert validate_utf8(text)
    with upstream_and_peer() as (ws, peer), pytest.raises(UnicodeDecodeError):
        peer.send(sent)
        ws.recv()
    with ours_and_peer() as (framing, peer):
        peer.send(sent)
        with pytest.raises(FramingError) as caught:
            framing.read()
    assert caught.value.code == 1007


def test_row_d03_the_check_of_upstream_is_slow() -> None:
    """It goes byte by byte; the decoder that we use is at least ten times as fast."""
    text = "é".encode() * 50_000
    began = time.perf_counter()
    assert validate_utf8(text)
    theirs = time.perf_counter() - began
    began = time.perf_counter()
    assert text.decode()
    assert theirs > 10 * (time.perf_counter() - began)


def test_row_d04_an_announced_length_is_believed() -> None:
    """Upstream waits for a tebibyte that was announced; ours refuses at the header, with 1009."""
    header = bytes([0x82, 127]) + (2**40).to_bytes(8, "big")
    with upstream_and_peer() as (ws, peer):
        ws.settimeout(0.05)
        peer.send(header)
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()
        assert ws.frame_buffer.length == 2**40
    with ours_and_peer() as (framing, peer):
        peer.send(header)
        with pytest.raises(FramingError) as caught:
            framing.read()
    assert caught.value.code == 1009


def test_row_d04_fragments_are_joined_by_copying_all_of_them_each_time() -> None:
    """Upstream makes a new whole for every fragment, and has no limit; ours has one for their sum."""
    with upstream_and_peer() as (ws, peer):
        peer.send(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) * 3)
        wholes = []
        for _ in range(4):
            ws.cont_frame.add(ws.recv_frame())
            wholes.append(ws.cont_frame.cont_data[1])
        assert wholes == [b"a", b"ab", b"abb", b"abbb"]
        assert len({id(whole) for whole in wholes}) == len(wholes)
    with ours_and_peer(limit=3) as (framing, peer):
        peer.send(frame(TEXT, b"a", fin=False) + frame(CONTINUATION, b"b", fin=False) * 3)
        with pytest.raises(FramingError) as caught:
            framing.read()
    assert caught.value.code == 1009


@pytest.mark.timing
def test_row_d04_we_join_many_fragments_in_linear_time(figure: Figure) -> None:
    """Five megabytes in five thousand fragments cost little more than their frames."""
    many = 5000
    sent = frame(TEXT, b"", fin=False) + frame(CONTINUATION, b"x" * 1000, fin=False) * many + frame(CONTINUATION)
    with ours_and_peer(limit=many * 1000) as (framing, peer):
        sender = aside(lambda: peer.send(sent))
        framing.stream.read_deadline = time.monotonic() + scaled(20)
        began = time.thread_time()
        message = framing.read()
        seconds = time.thread_time() - began
        assert sender.wait(1) == [None]
    assert message == "x" * many * 1000
    figure("CPU of 5 MB in 5000 fragments", seconds, scaled(1.0), "s")


def test_row_d05_upstream_has_one_timeout_and_tears_a_frame_that_takes_longer() -> None:
    """A read that timed out goes on; a write that did leaves half a frame, and the next one behind it."""
    with upstream_and_peer() as (ws, peer):
        ws.settimeout(0.1)
        peer.send(frame(TEXT, b"hello")[:4])
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.recv()
        peer.send(frame(TEXT, b"hello")[4:])
        assert ws.recv() == "hello"
        assert ws.sock.gettimeout() == 0.1
        with pytest.raises(websocket.WebSocketTimeoutException):
            ws.send(b"x" * BIG, ABNF.OPCODE_BINARY)
        assert ws.connected
        drained = aside(lambda: len(peer.read(BIG)))
        ws.settimeout(scaled(5))
        assert ws.send("next") > 0
        ws.sock.shutdown(socket.SHUT_WR)
        assert drained.wait(1)[0] < BIG


def test_row_d05_we_have_two_deadlines_and_finish_what_we_began() -> None:
    """Reading goes on beside a write that takes too long, and the next frame comes behind a whole one."""
    run = Run()
    try:
        with pytest.raises(SocketTimeout):
            run.link.write([b"x" * BIG], Deadline(0.1))
        run.peer.send(frame(TEXT, b"hello")[:4])
        run.peer.send(frame(TEXT, b"hello")[4:])
        assert run.got.wait(1) == ["hello"]
        following = aside(lambda: run.link.write([b"next"], Deadline(scaled(5))))
        assert run.peer.read_frame().payload == b"x" * BIG
        assert run.peer.read_frame().payload == b"next"
        assert following.wait(1) == [None]
    finally:
        run.stop()


def test_row_d09_a_ping_is_answered_from_within_a_read() -> None:
    """Upstream reads nothing more while somebody else holds its lock for writing."""
    with upstream_and_peer() as (ws, peer):
        peer.send(frame(PING, b"p") + frame(TEXT, b"behind"))
        with ws.lock:
            reading = aside(ws.recv)
            with pytest.raises(AssertionError):
                reading.wait(1, 0.2)
        assert reading.wait(1) == ["behind"]
        assert peer.read_frame() == (PONG, b"p")


def test_row_d09_we_hand_a_ping_on_and_read_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading writes nothing, so it cannot wait for whoever writes."""
    with ours_and_peer() as (framing, peer):
        framing.stream.write_deadline = 0.0
        monkeypatch.setattr(type(framing.stream), "send", _refuse)
        peer.send(frame(PING, b"p") + frame(TEXT, b"behind"))
        ping = framing.read()
        assert isinstance(ping, Ping)
        assert (ping.payload, framing.read()) == (b"p", "behind")


def _refuse(data: bytes) -> int:
    raise AssertionError(f"reading wrote {data!r}")


@pytest.mark.parametrize(
    ("sent", "payload"),
    [
        (frame(TEXT, b"masked", masked=True), b"masked"),
        (frame(PONG, b"piece", fin=False), b"piece"),
        (frame(PONG, b"x" * 126), b"x" * 126),
    ],
    ids=["masked", "fragmented pong", "long pong"],
)
def test_row_d11_frames_that_no_server_may_send(sent: bytes, payload: bytes) -> None:
    """Upstream takes them; ours ends the link with 1002 (RFC 6455, sections 5.1 and 5.5)."""
    with upstream_and_peer() as (ws, peer):
        peer.send(sent)
        assert ws.recv_data_frame(control_frame=True)[1].data == payload
    with ours_and_peer() as (framing, peer):
        peer.send(sent)
        with pytest.raises(FramingError) as caught:
            framing.read()
    assert caught.value.code == 1002


def test_row_d20_upstream_forgets_what_a_short_write_of_its_request_left() -> None:
    """It writes the request once, and then waits for an answer to what never left."""
    ours, theirs = tcp_pair()
    sock = NotingSocket(ours, at_most=10)
    sock.settimeout(0.1)
    with pytest.raises(websocket.WebSocketTimeoutException):
        Upstream().connect("ws://localhost/", socket=sock)
    peer = RawPeer(theirs)
    assert peer.read(1000) == b"GET / HTTP"
    theirs.close()


def test_row_d20_upstream_copies_what_is_left_after_each_short_write() -> None:
    """A frame that leaves in pieces is copied once for each of them."""
    sock, peer = _noted()
    sock.at_most = 10
    ws = Upstream()
    ws.sock = sock
    ws.send("x" * 94)
    assert sock.written == [(bytes, size) for size in range(100, 0, -10)]
    assert peer.read_frame() == (TEXT, b"x" * 94)
    sock.close()
    peer.sock.close()


def test_row_d20_we_send_all_of_it_without_a_copy() -> None:
    """Request and frames arrive whole, however little the system takes at once."""
    sock, peer = _noted()
    sock.at_most = 10
    framing = ClientFraming(DuplexStream(sock), LIMIT)
    request = aside(peer.upgrade)
    ClientHandshake(framing).upgrade(parse("ws://localhost/"), {"X-Long": "x" * 100}, time.monotonic() + scaled(5))
    assert header_of(request.wait(1)[0], "X-Long") == "x" * 100
    framing.stream.send(framing.frame(TEXT, b"y" * 94))
    assert peer.read_frame() == (TEXT, b"y" * 94)
    assert {kind for kind, _ in sock.written} == {memoryview}
    framing.stream.close()
    peer.sock.close()
