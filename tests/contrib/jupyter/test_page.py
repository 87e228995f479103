"""The page about notebooks, pasted into a kernel: each cell shows what the page says that it shows."""

from __future__ import annotations

import pytest

from docs.blocks import blocks_of
from docs.running import ROOT
from support.kernels import Kernel, Ran
from support.sockets import free_port

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kernel")]

PAGE = (ROOT / "docs" / "how-to" / "notebooks.md").read_text(encoding="utf-8")
VIEW = "application/vnd.jupyter.widget-view+json"


@pytest.fixture(scope="module")
def cells() -> dict[str, Ran]:
    """What each cell of the page showed, by its source; a cell that prints ``seen`` has run three times."""
    ran: dict[str, Ran] = {}
    port = str(free_port())  # that of the page may be in use by a test which runs it
    with Kernel() as kernel:
        for block in blocks_of(PAGE):
            if block.language == "python":
                source = block.text.replace("8871", port)
                for _ in range(3 if "seen" in source else 1):
                    ran[block.text] = kernel.run(source)
    return ran


@pytest.mark.parametrize("function", ["watch(", "health("])
def test_a_view_appears_below_its_cell(cells: dict[str, Ran], function: str) -> None:
    """A cell shows its last expression, and an assignment shows nothing."""
    [ran] = [ran for source, ran in cells.items() if function in source]
    assert [VIEW in shown for shown in ran.shown] == [True]


def test_a_cell_that_runs_again_replaces_its_handler(cells: dict[str, Ran]) -> None:
    """The third run handles each event once."""
    [ran] = [ran for source, ran in cells.items() if "seen" in source]
    assert ran.printed == "True [20.0]\n"
