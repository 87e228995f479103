"""`refusal`: the header fields and the body of a response that refuses a client."""

from __future__ import annotations

import pytest

from owlsocket_sync.transport.refusal import decode_chunks, header_value, is_whole, parse_refusal


def test_a_field_is_found_whatever_surrounds_it() -> None:
    """Without the blanks around its value, and by its name in any case."""
    head = b"HTTP/1.1 302 Found\r\nX-Location: no\r\nlocation: \t /there \r\nRetry-After:5\r\nEmpty:\r\n\r\n"
    assert header_value(head, b"Location") == "/there"
    assert header_value(head, b"Retry-After") == "5"
    assert header_value(head, b"Empty") == ""
    assert header_value(head, b"Missing") is None


def test_a_megabyte_of_blanks_is_read_in_linear_time() -> None:
    """In quadratic time, this would take hours."""
    blanks = b" " * 2**20
    assert header_value(b"HTTP/1.1 302 Found\r\nLocation:" + blanks + b"x" + blanks + b"\r\n\r\n", b"Location") == "x"


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n\x1b[31mred\x00\xc2\x9b31m",
        b"HTTP/1.1 302 Found\r\nLocation: ws://there/\x1b[31m\x00\r\n\r\n",
        b"HTTP/1.1 500 Error\r\n\r\nOther|||\x1b[31mred\x00|||",
    ],
    ids=["a body", "a redirect", "an error of another class"],
)
def test_text_of_the_server_steers_no_terminal(response: bytes) -> None:
    """Its control characters are escaped in the message."""
    refusal = parse_refusal(response, [])
    assert str(refusal).isprintable()
    assert "31m" in str(refusal)


CHUNKS = b"3\r\nowl\r\nB;name=value\r\n in a tree\n\r\n0\r\n\r\n"


@pytest.mark.parametrize(
    ("body", "data", "is_all"),
    [
        (CHUNKS, b"owl in a tree\n", True),
        (CHUNKS.replace(b"\r\n", b"\n"), b"owl in a tree\n", True),
        (CHUNKS[: CHUNKS.index(b"tree") + 2], b"owl in a tr", False),
        (b"3\r\nowl\r\n", b"owl", False),
        (b"3\r\nowl\r\nnonsense\r\n", b"owl", False),
        (b"fffffffff\r\nowl", b"", False),
        (b"", b"", False),
    ],
)
def test_a_chunked_body_is_read_as_far_as_it_goes(body: bytes, data: bytes, is_all: bool) -> None:
    """Whatever its line ends, its extensions and its end are."""
    assert decode_chunks(body) == (data, is_all)


@pytest.mark.parametrize(
    ("response", "whole"),
    [
        (b"HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\nowl", True),
        (b"HTTP/1.1 401 No\r\nContent-Length: 3\r\n\r\now", False),
        (b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 401 No\r\n\r\nowl", False),
        (b"HTTP/1.1 401 No\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, True),
        (b"HTTP/1.1 401 No\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n" + CHUNKS[:9], False),
        (b"HTTP/1.1 101 Yes\r\n\r\n", True),
        (b"SSH-2.0-owl\r\n", True),
        (b"", True),
    ],
)
def test_where_a_refusal_ends(response: bytes, whole: bool) -> None:
    """By its length, its last chunk, or the end of the stream; what is no refusal has no rest to wait for."""
    assert is_whole(response) is whole
