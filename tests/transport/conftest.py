"""The ends of a socket, for tests of what a client's framing reads and writes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.framing_ends import Ends, framing_ends


@pytest.fixture
def ends() -> Iterator[Ends]:
    """A framing, and the raw socket at its other end."""
    with framing_ends() as both:
        yield both
