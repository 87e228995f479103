"""Each block of the README works alone, for those who paste one of them."""

from __future__ import annotations

import pytest

from docs.blocks import blocks_of
from docs.running import ROOT, run_page
from support.helpers import SCALE

README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = {block.line: block.text for block in blocks_of(README) if block.language == "python" and not block.title}


@pytest.mark.slow
@pytest.mark.parametrize("line", BLOCKS)
def test_a_block_needs_no_other_one(line: int) -> None:
    """It imports what it uses, and prints what it says."""
    run_page(f"```python\n{BLOCKS[line]}\n```\n", scale=SCALE)
