"""Every page does what it says: its blocks are run from top to bottom, as one who reads it would."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs.blocks import blocks_of
from docs.running import ROOT, run_page
from support.helpers import SCALE

PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
NAMES = [path.relative_to(ROOT).as_posix() for path in PAGES]
FIRST = {
    "README.md",
    "docs/cheatsheet.md",
    "docs/faq.md",
    "docs/how-to/connecting.md",
    "docs/how-to/testing.md",
    "docs/index.md",
    "docs/queues.md",
    "docs/tutorial.md",
}
"""The pages that are read first; the others, which start many programs, are run where variants are."""

NOT_RUN = {
    "README.md": ["it runs this"],
    "docs/guarantees.md": ["it runs this"],
    "docs/how-to/celery.md": ["it needs a Redis"],
    "docs/how-to/command-line.md": ["it needs servers that use the hub"],
    "docs/how-to/hub.md": [
        "it serves until it is stopped; tests/processes/test_chat_workers.py runs it, behind nginx",
        "it needs a Redis",
    ],
    "docs/queues.md": ["it needs a Redis"],
}
"""The blocks that are not run, and why, as their pages say it."""


NEEDS = {"docs/how-to/asyncio.md": ["fastapi", "uvicorn"]}
"""Libraries that the extra ``test`` has for the sake of a page alone."""


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=name, marks=() if name in FIRST else pytest.mark.variant)
        for page, name in zip(PAGES, NAMES, strict=True)
    ],
)
def test_a_page_does_what_it_says(page: Path) -> None:
    """What it writes is written, what it types is typed, and what it says is printed is printed."""
    for library in NEEDS.get(page.relative_to(ROOT).as_posix(), []):
        pytest.importorskip(library)
    run_page(page.read_text(encoding="utf-8"), scale=SCALE)


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    """They are listed here, so that none is added without a thought."""
    found = {
        name: reasons
        for name, page in zip(NAMES, PAGES, strict=True)
        if (reasons := [block.not_run for block in blocks_of(page.read_text(encoding="utf-8")) if block.not_run])
    }
    assert found == {name: reasons for name, reasons in NOT_RUN.items() if name in NAMES}


def test_no_two_pages_listen_on_the_same_port() -> None:
    """They run side by side, as two readers' terminals do."""
    owners: dict[str, set[str]] = {}
    for name, page in zip(NAMES, PAGES, strict=True):
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if not block.not_run:
                for port in re.findall(r"(?:port[ =]|127\.0\.0\.1:|localhost:|-p )(8\d\d\d)\b", block.text):
                    owners.setdefault(port, set()).add(name)
    assert {port: names for port, names in owners.items() if len(names) > 1} == {}
