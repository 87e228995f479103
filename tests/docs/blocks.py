"""The code blocks of a Markdown page: what language each is in, where it stands, and what the page says about it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

RUN = {"python", "sh", "console"}
SHOWN = {
    "css", "csv", "diff", "html", "http", "ini", "javascript", "js", "json", "jsonc", "nginx", "sql", "text", "toml",
    "ts", "typescript", "yaml",
}  # fmt: skip

FENCE = re.compile(r"^(?P<indent> *)(?P<fence>`{3,}|~{3,})(?P<info>[^`]*)$")
TITLE = re.compile(r'\btitle="([^"]+)"')
NOT_RUN = re.compile(r"^<!-- not run: (?P<reason>.+?) -->$")
SCENE = "<!-- scene"
INSTALL = re.compile(r"python -m pip install [^&\n]*(?:&& )?")


class PageError(AssertionError):
    """A page is written in a way that nobody could run."""


@dataclass(frozen=True)
class Block:
    """One block of a page.

    Attributes:
        language: its first word.
        text: its lines.
        line: where its first line stands in the page, from 1.
        title: the file that it is, where it is one.
        not_run: why it is not run, where it is not.
        hidden: whether it sets the scene, and readers do not see it.
    """

    language: str
    text: str
    line: int
    title: str | None = None
    not_run: str | None = None
    hidden: bool = False


@dataclass
class _Reading:
    lines: list[str]
    found: list[Block] = field(default_factory=list)
    reason: str | None = None


def blocks_of(markdown: str) -> list[Block]:
    """All blocks of a page, from top to bottom.

    Raises:
        PageError: a block does not end, or is in no language that is known here.
    """
    reading = _Reading(markdown.splitlines())
    number = 0
    while number < len(reading.lines):
        number = _read(reading, number)
    return reading.found


def _read(reading: _Reading, number: int) -> int:
    """Look at one line, and take what begins there; returns the number of the next line to look at."""
    line = reading.lines[number]
    fence = FENCE.match(line)
    if fence:
        return _fenced(reading, number, fence)
    if line.strip() == SCENE:
        end = _find(reading.lines, number + 1, "-->")
        text = "\n".join(reading.lines[number + 1 : end])
        reading.found.append(Block("python", text, number + 2, hidden=True))
        return end + 1
    reason = NOT_RUN.match(line.strip())
    if reason:
        reading.reason = reason["reason"]
    elif line.strip():
        reading.reason = None
    return number + 1


def _fenced(reading: _Reading, number: int, fence: re.Match[str]) -> int:
    end = _find(reading.lines, number + 1, fence["fence"])
    indent = len(fence["indent"])
    text = "\n".join(line[indent:] if not line[:indent].strip() else line for line in reading.lines[number + 1 : end])
    language = fence["info"].strip().partition(" ")[0]
    titled = TITLE.search(fence["info"])
    if not titled and language not in RUN | SHOWN:
        known = ", ".join(sorted(RUN | SHOWN))
        raise PageError(f"line {number + 1}: a block in {language or 'no language'}; known are {known}")
    title = titled[1] if titled else None
    reading.found.append(Block(language, text, number + 2, title, reading.reason))
    reading.reason = None
    return end + 1


def _find(lines: list[str], start: int, end: str) -> int:
    for number in range(start, len(lines)):
        if lines[number].strip() == end:
            return number
    raise PageError(f"line {start}: what begins here does not end with {end}")


def runs(block: Block) -> bool:
    """Whether a block is to be run, or written to a file."""
    return block.not_run is None and (block.title is not None or block.language in RUN)


def without_installs(script: str) -> str:
    """A script of the shell without what would install packages, which are there already."""
    return INSTALL.sub("", script)
