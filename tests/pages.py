"""A page of the documentation, read as somebody would who types what it shows: blocks of code, from top to bottom."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RUN = {"python", "sh", "console"}
SHOWN = {"", "text", "json", "html", "js", "toml", "ini", "yaml", "python", "sh", "console", "diff"}
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*) *(?P<rest>.*)$")
TITLE = re.compile(r'title="([^"]+)"')
NOT_RUN = re.compile(r"<!-- not run: (.+?) -->")
INSTALL = re.compile(r"python -m pip install [^&\n]*(?:&& )?")


@dataclass(frozen=True)
class Block:
    """One block of code.

    Attributes:
        language: of what it is.
        text: the code.
        line: where it stands in its page.
        title: the file that it is, where it is one.
        reason: why it is not run, where the page says so.
    """

    language: str
    text: str
    line: int
    title: str | None = None
    reason: str | None = None

    @property
    def runs(self) -> bool:
        """Whether something is to be done with it."""
        return self.reason is None and (self.title is not None or self.language in RUN)


def blocks_of(page: Path) -> Iterator[Block]:
    """The blocks of a page, in order.

    Raises:
        ValueError: one is in a language that nobody knows, or does not end.
    """
    lines = iter(enumerate(page.read_text(encoding="utf-8").splitlines(), start=1))
    reason = None
    for number, line in lines:
        comment, fence = NOT_RUN.search(line), FENCE.match(line)
        if comment:
            reason = comment[1]
        elif fence:
            language, title = fence["language"], TITLE.search(fence["rest"])
            if language not in SHOWN and not title:
                raise ValueError(f"{page.name}:{number}: nobody knows what {language!r} is")
            text = "".join(f"{one}\n" for one in _inside(page, number, lines, len(fence["indent"])))
            yield Block(language, text, number, title[1] if title else None, reason)
            reason = None
        elif line.strip():
            reason = None


def _inside(page: Path, begin: int, lines: Iterator[tuple[int, str]], indent: int) -> Iterator[str]:
    for _, line in lines:
        if line.strip() == "```":
            return
        yield line[indent:]
    raise ValueError(f"{page.name}:{begin}: the block does not end")


def without_installing(script: str) -> str:
    """A shell script without what would install packages, which are there already."""
    return INSTALL.sub("", script)


def printed_by(code: str) -> list[str]:
    """What the comments behind ``print(...)`` say that it prints, in order."""
    return re.findall(r"^ *print\(.*\)  # (.+)$", code, re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A line of a session in a terminal, and what it is to print."""

    line: str
    expected: str


def commands_of(session: str) -> Iterator[Command]:
    """The commands of a session, each with what follows it."""
    for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        while line.endswith("\\"):
            more, _, expected = expected.partition("\n")
            line = f"{line}\n{more.removeprefix('> ')}"
        yield Command(line, expected)


def fits(expected: str, printed: str) -> bool:
    """Whether this was printed; ``…`` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.rstrip("\n").split("…"))
    return re.fullmatch(pattern, printed.rstrip("\n"), re.DOTALL) is not None
