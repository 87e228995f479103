"""The demo server in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from owlsocket_sync.cli.demo_handlers import register_handlers
from owlsocket_sync.server import Server, serve


@pytest.fixture
def demo_server() -> Iterator[Server]:
    """Run the server of ``owlsocket serve``."""
    with serve(register_handlers) as server:
        yield server
