"""The playground, served in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from owlsocket_sync.cli.playground import playground
from owlsocket_sync.server import Server, serve


@pytest.fixture
def playing() -> Iterator[Server]:
    """What ``owlsocket serve`` serves."""
    with serve(playground) as server:
        yield server
