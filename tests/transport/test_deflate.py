"""permessage-deflate (RFC 7692), without a socket: the algorithm, and what both ends agree on."""

from __future__ import annotations

import contextlib
import time
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owlsocket_sync.options import Deflate
from owlsocket_sync.transport.deflate import (
    MAX_FINAL_BLOCKS,
    PLAIN,
    Compression,
    accept_offer,
    inflate,
    offer,
    parse_extensions,
    read_answer,
)
from owlsocket_sync.transport.frames import FramingError
from owlsocket_sync.values import NeverCompressed
from support.deflating import deflate, deflated, json_rows
from support.helpers import scaled

LIMIT = 100_000
MIB = 1024 * 1024
AGREED = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


def refused(payload: bytes, limit: int = LIMIT) -> FramingError:
    """The error of a payload that cannot be inflated."""
    with pytest.raises(FramingError) as caught:
        inflate(payload, limit)
    return caught.value


# -- the algorithm -----------------------------------------------------------------------------------------------------


@given(st.binary(max_size=2000) | st.text(max_size=2000).map(str.encode), st.integers(1, 9), st.integers(9, 15))
def test_any_message_goes_round_trip(message: bytes, level: int, window_bits: int) -> None:
    """Whatever it holds, at each level and with each window; it is deflated only where that makes it smaller."""
    message = message * 3
    payload = Compression(level, window_bits, 0, is_agreed=True).deflate(message)
    assert payload is None or len(payload) < len(message)
    if payload is not None:
        assert inflate(payload, len(message)) == message


@pytest.mark.parametrize("size", [1023, 1024])
def test_a_message_below_the_minimum_is_left_as_it_is(size: int) -> None:
    """The minimum itself is deflated."""
    payload = Compression(3, 15, 1024, is_agreed=True).deflate(b"x" * size)
    assert (payload is not None) is (size == 1024)


def test_what_must_not_be_compressed_is_left_as_it_is() -> None:
    """A message that may hold a secret travels at its full length."""
    compression = Compression(3, 15, 0, is_agreed=True)
    assert compression.deflate(NeverCompressed(b"x" * 5000)) is None
    assert compression.deflate(b"x" * 5000) is not None


def test_nothing_is_kept_between_messages() -> None:
    """The same message makes the same payload each time, which can be inflated by itself, in any order."""
    compression = Compression(3, 15, 0, is_agreed=True)
    first, second = json_rows(2000), json_rows(3000)
    payloads = [compression.deflate(message) or b"" for message in (first, second, first)]
    assert payloads[0] == payloads[2]
    assert inflate(payloads[1], LIMIT) == second
    assert inflate(payloads[0], LIMIT) == first == inflate(payloads[0], LIMIT)


EXAMPLES = {
    "7.2.3.1": bytes.fromhex("f248cdc9c90700"),
    "7.2.3.3, a stored block": bytes.fromhex("000500faff48656c6c6f00"),
    "7.2.3.4, a final block": bytes.fromhex("f348cdc9c9070000"),
    "7.2.3.5, two blocks": bytes.fromhex("f248050000 00ffffcac9c90700"),
}


@pytest.mark.parametrize("payload", EXAMPLES.values(), ids=EXAMPLES)
def test_the_examples_of_the_rfc(payload: bytes) -> None:
    """RFC 7692, section 7.2.3."""
    assert inflate(payload, LIMIT) == b"Hello"
    assert PLAIN.inflate_beginning(payload) == b"Hello"


def test_an_empty_message() -> None:
    """As the RFC has it (section 7.2.3.6), and without any payload, as some peers have it."""
    assert inflate(b"\x00", LIMIT) == inflate(b"", LIMIT) == b""


def test_final_blocks_are_not_the_end_of_a_message() -> None:
    """With another block behind them, and a window that reaches across; without one, as libraries for files write."""
    first, second = b"the first half and ", b"the first half and the second"
    final = deflate(first, flush=zlib.Z_FINISH)
    assert inflate(final, LIMIT) == inflate(final + b"\x00", LIMIT) == first
    assert inflate(final + deflated(second), LIMIT) == first + second
    behind = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=first)
    reaching = behind.compress(second) + behind.flush(zlib.Z_FINISH)
    assert len(reaching) < len(deflate(second, flush=zlib.Z_FINISH))
    assert inflate(final + reaching, LIMIT) == first + second


def test_final_blocks_without_end_are_refused() -> None:
    """Each of them has a cost, and a peer may send a million of two bytes."""
    empty = b"\x03\x00"
    assert inflate(empty * (MAX_FINAL_BLOCKS - 1), LIMIT) == b""
    error = refused(empty * 1_000_000)
    assert (error.code, "16 final blocks" in error.reason) == (1007, True)


def test_a_payload_that_was_cut_is_refused() -> None:
    """Wherever it was cut: nothing is delivered in part."""
    payload = Compression(6, 15, 0, is_agreed=True).deflate(json_rows(3000)) or b""
    for end in range(1, len(payload)):
        assert refused(payload[:end]).code == 1007, end


@pytest.mark.parametrize("payload", [b"\xff", b"\x07", b"garbage", b"\x00\x00\xff\xff\x00"])
def test_garbage_is_refused(payload: bytes) -> None:
    """With the code for data that does not have the type of its message."""
    error = refused(payload)
    assert error.code == 1007
    assert error.reason.startswith("malformed deflate data: ")
    assert b"Hello" not in PLAIN.inflate_beginning(payload)


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT, LIMIT + 1])
@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_FINISH])
def test_the_limit_is_that_of_the_inflated_message(size: int, flush: int) -> None:
    """To the byte."""
    message = b"x" * size
    payload = deflated(message) if flush == zlib.Z_SYNC_FLUSH else deflate(message, flush=flush)
    if size <= LIMIT:
        assert inflate(payload, LIMIT) == b"x" * size
    else:
        error = refused(payload)
        assert (error.code, error.reason) == (1009, "message inflates to more than the limit of 100000 bytes")
        assert error.beginning == b"x" * 1024


def test_the_limit_holds_across_final_blocks() -> None:
    """Their messages add up."""
    final = deflate(b"x" * (LIMIT // 2 + 1), flush=zlib.Z_FINISH)
    assert refused(final + final).code == 1009


@pytest.mark.parametrize("inflated", [64, 4096])
def test_a_bomb_takes_no_more_memory_than_a_message(inflated: int) -> None:
    """A thousand to one: 64 MiB in 64 KiB, 4 GiB in 4 MiB; inflating stops at the limit."""
    bomb = deflate(bytes(16 * MIB), 9, flush=zlib.Z_FULL_FLUSH) * (inflated // 16)
    assert len(bomb) < inflated * MIB / 900
    limit = 4 * MIB
    tracemalloc.start()
    try:
        assert refused(bomb, limit).code == 1009
        assert tracemalloc.get_traced_memory()[1] < 2.2 * limit + len(bomb)
    finally:
        tracemalloc.stop()


# -- what both ends agree on -------------------------------------------------------------------------------------------


def test_what_is_offered() -> None:
    """No context takeover in either direction; the own window, if it is not the largest."""
    expected = "permessage-deflate; client_no_context_takeover; server_no_context_takeover; client_max_window_bits"
    assert offer(Deflate()) == expected
    assert offer(Deflate(window_bits=11)) == expected + "=11"


OFFERS = {
    "a browser": ("permessage-deflate; client_max_window_bits", AGREED, 15),
    "as little as possible": ("permessage-deflate", AGREED, 15),
    "everything": (
        offer(Deflate(window_bits=9)) + "; server_max_window_bits=10",
        AGREED + "; server_max_window_bits=10",
        10,
    ),
    "a larger window than ours": ("permessage-deflate; server_max_window_bits=15", None, 12),
    "a quoted value": ('permessage-deflate; server_max_window_bits="10"', AGREED + "; server_max_window_bits=10", 10),
    "the second of two": ("permessage-deflate; server_max_window_bits=8, permessage-deflate", AGREED, 15),
    "beside another extension": ("x-webkit-deflate-frame , permessage-deflate;client_max_window_bits", AGREED, 15),
    "with empty elements": (",, permessage-deflate ,", AGREED, 15),
}


@pytest.mark.parametrize(("header", "answer", "window_bits"), OFFERS.values(), ids=OFFERS)
def test_an_offer_is_accepted(header: str, answer: str | None, window_bits: int) -> None:
    """With the smaller one of both windows."""
    bits = 12 if answer is None else 15
    accepted = accept_offer(header, Deflate(level=5, min_size=7, window_bits=bits))
    expected = answer or AGREED + "; server_max_window_bits=12"
    assert accepted == (expected, Compression(5, window_bits, 7, is_agreed=True))


@pytest.mark.parametrize(
    "header",
    [
        "",
        ",",
        "x-webkit-deflate-frame",
        "permessage-bzip2; permessage-deflate",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=010",
        "permessage-deflate; server_max_window_bits=1e1",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=99",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; client_no_context_takeover=1",
        "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; server_no_context_takeover=",
        "permessage-deflate; method=lz77",
        "permessage-deflate; ;",
        'permessage-deflate; server_max_window_bits="10',
        "permessage-deflate, (",
        "permessage deflate",
        "Permessage-Deflate",
    ],
)
def test_an_offer_that_cannot_be_used_is_declined(header: str) -> None:
    """The client is served without compression."""
    assert accept_offer(header, Deflate()) is None


ANSWERS = {
    "what we send ourselves": (AGREED, Compression(3, 15, 1024, is_agreed=True)),
    "the server only": ("permessage-deflate; server_no_context_takeover", Compression(3, 15, 1024, is_agreed=True)),
    "a window of the server": (AGREED + "; server_max_window_bits=9", Compression(3, 15, 1024, is_agreed=True)),
    "a window for us": (AGREED + "; client_max_window_bits=10", Compression(3, 10, 1024, is_agreed=True)),
    "nothing": ("", PLAIN),
}


@pytest.mark.parametrize(("header", "expected"), ANSWERS.values(), ids=ANSWERS)
def test_an_answer_is_read(header: str, expected: Compression) -> None:
    """A server that selects nothing gets, and sends, plain messages."""
    assert read_answer(header, Deflate()) == expected


def test_a_window_that_zlib_does_not_have() -> None:
    """What is sent is not deflated; what comes is inflated."""
    agreed = read_answer(AGREED + "; client_max_window_bits=8", Deflate(min_size=0))
    assert agreed.is_agreed
    assert agreed.deflate(b"x" * 1_000_000) is None


WRONG = {
    "permessage-deflate": "keeps its compression from message to message",
    "permessage-deflate; client_no_context_takeover": "keeps its compression from message to message",
    "x-other": "selected other extensions than the one that was offered",
    AGREED + ", x-other": "selected other extensions than the one that was offered",
    f"{AGREED}, {AGREED}": "selected other extensions than the one that was offered",
    AGREED + "; server_no_context_takeover": "selected server_no_context_takeover more than once",
    AGREED + "; client_max_window_bits": "selected client_max_window_bits with the value None",
    AGREED + "; client_max_window_bits=16": "selected client_max_window_bits with the value '16'",
    AGREED + "; server_max_window_bits=7": "selected server_max_window_bits with the value '7'",
    AGREED + "; server_max_window_bits=9; server_max_window_bits=9": "selected server_max_window_bits more than once",
    AGREED + "; mode=fast": "selected the unknown parameter 'mode'",
    "permessage-deflate; server_no_context_takeover=1": "selected server_no_context_takeover with the value '1'",
    "permessage-deflate; =": "sent a list of extensions that does not conform",
}


@pytest.mark.parametrize(("header", "fault"), WRONG.items(), ids=WRONG)
def test_a_wrong_answer_is_refused(header: str, fault: str) -> None:
    """With its fault."""
    with pytest.raises(ValueError, match="^" + fault.replace(".", r"\.")):
        read_answer(header, Deflate())


def test_a_larger_window_than_was_offered_is_refused() -> None:
    """RFC 7692, section 7.1.2.2."""
    with pytest.raises(ValueError, match="selected client_max_window_bits=12, where 10 was offered"):
        read_answer(AGREED + "; client_max_window_bits=12", Deflate(window_bits=10))


TOKENS = st.text("abz09-_!", min_size=1, max_size=8)
EXTENSIONS = st.lists(st.tuples(TOKENS, st.lists(st.tuples(TOKENS, st.none() | TOKENS), max_size=3)), max_size=3)


@given(EXTENSIONS, st.sampled_from(["; ", ";", " ;\t"]), st.sampled_from([", ", ",", " ,, "]), st.booleans())
def test_a_list_of_extensions_is_parsed(
    extensions: list[tuple[str, list[tuple[str, str | None]]]], semicolon: str, comma: str, quoted: bool
) -> None:
    """However it is spaced, and whether or not its values are quoted."""
    mark = '"' if quoted else ""
    header = comma.join(
        name + "".join(f"{semicolon}{key}" + ("" if value is None else f"={mark}{value}{mark}") for key, value in rest)
        for name, rest in extensions
    )
    assert list(parse_extensions(header)) == extensions


@given(st.text('permessage-deflate;,="\\ \t', max_size=60) | st.text(max_size=40))
def test_any_header_is_read_or_refused(header: str) -> None:
    """A server declines what it cannot read; a client raises nothing but a `ValueError`."""
    accepted = accept_offer(header, Deflate())
    with contextlib.suppress(ValueError):
        assert accepted is None or read_answer(accepted[0], Deflate()).is_agreed
        read_answer(header, Deflate())


@pytest.mark.timing
@pytest.mark.parametrize("text", ["a,", "a;b", "a;b=c", 'a;b="c",', " ", "a ", '"', ",", 'a;b="'])
def test_a_long_header_is_parsed_in_linear_time(text: str) -> None:
    """It comes from strangers, up to 64 KiB of it."""
    began = time.process_time()
    accept_offer("a" + text * (65_000 // len(text)) + "(", Deflate())
    assert time.process_time() - began < scaled(1)
