"""What tests of the proxy share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.ends import Ends


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Two ends with a proxy between them."""
    ends = Ends()
    yield ends
    ends.close()
