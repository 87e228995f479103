"""`refusal`: the header fields of a response that refuses a client."""

from __future__ import annotations

import pytest

from owlsocket_sync.transport.refusal import header_value, parse_refusal


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
